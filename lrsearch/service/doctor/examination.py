"""All checks, one after the other; one that fails itself does not end the others."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lrsearch.service.checkpoint_folder import checkpoint_folder
from lrsearch.service.doctor.databases import check_storage
from lrsearch.service.doctor.devices import check_device, check_shared_memory
from lrsearch.service.doctor.disks import check_data, check_space, check_sqlite_disk
from lrsearch.service.doctor.finding import Finding, wrong
from lrsearch.service.doctor.packages import check_extras, check_packages, check_python
from lrsearch.storage.address import parse_address
from lrsearch.storage.masking import masked
from lrsearch.tasks import files

Check = Callable[[], Iterable[Finding]]


def examine(url: str | None, data_dir: Path | None = None, device: str = "auto") -> Iterator[Finding]:
    """Yield what the checks find, as it is found.

    Args:
        url: the database, as for ``parse_address``.
        data_dir: folder of the data sets, or None for the usual one.
        device: as in ``--device``.
    """
    checks: dict[str, Check] = {
        "Python": check_python,
        "packages": check_packages,
        "extras": check_extras,
        "device": lambda: check_device(device),
        "shared memory": check_shared_memory,
        "database": lambda: check_storage(url),
        "disk of the database": lambda: check_sqlite_disk(url),
        "disk of checkpoints": lambda: check_space("disk of checkpoints", _checkpoint_folder(url)),
        "data": lambda: check_data(files.data_dir(data_dir)),
    }
    for name, check in checks.items():
        yield from survived(name, check, url)


def survived(name: str, check: Check, url: str | None) -> Iterator[Finding]:
    """Yield what a check finds; its own failure is a finding too."""
    try:
        yield from check()
    except Exception as error:  # whatever it is, the other checks are what the user has called for
        found = f"the check failed: {type(error).__name__}: {error}"
        yield wrong(name, masked_in(found, url), "this is a fault of lrsearch; please report it")


def masked_in(text: str, url: str | None) -> str:
    """Return a text with a URL in it replaced by its masked form."""
    return text if url is None else text.replace(url, masked(url))


def _checkpoint_folder(url: str | None) -> Path:
    return checkpoint_folder(parse_address(url))
