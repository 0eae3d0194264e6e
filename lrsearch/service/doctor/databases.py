"""Checks of the database: that it answers, how fast, with which tables, and where a file of SQLite lies."""

import os
from collections.abc import Iterator

from lrsearch.errors import LrsearchError
from lrsearch.service.doctor.finding import Finding, ok, warning, wrong
from lrsearch.storage.address import StorageAddress, parse_address
from lrsearch.storage.database import DatabaseStatus, check_database, open_existing
from lrsearch.storage.probe import Probe, probe

RETRY_S = 10.0
SLOW_ROUND_TRIP_S = 0.05  # an epoch is written in about four
WRONG_CLOCK_S = 5.0


def check_storage(url: str | None) -> Iterator[Finding]:
    """Open the database, and change nothing in it.

    Args:
        url: as for ``parse_address``.
    """
    try:
        address = parse_address(url)
        status = check_database(url)
    except LrsearchError as error:
        yield wrong("database", str(error), "name another one with --storage or in LRSEARCH_STORAGE")
        return
    if status.current:
        with open_existing(url, read_only=True, retry_s=RETRY_S) as database:
            answer = probe(database)
        yield _reachable(status, answer)
        yield _clock(answer)
        yield ok("tables", f"revision {status.revision}, Optuna's {status.optuna_revision}")
    else:
        yield _outdated(address, status)
    if status.orphans:
        yield warning(
            "orphans",
            f"rows of {len(status.orphans)} studies that were deleted elsewhere",
            f"lrsearch db clean --storage {status.masked_url}",
        )


def _reachable(status: DatabaseStatus, answer: Probe) -> Finding:
    found = f"{status.masked_url} answers in {1000 * answer.round_trip_s:.2g} ms; studies: {status.studies}"
    if answer.round_trip_s > SLOW_ROUND_TRIP_S:
        return warning("database", found, "every epoch waits for it several times: use one that is nearer")
    return ok("database", found)


def _clock(answer: Probe) -> Finding:
    # Leases use the database's alone, so a difference harms nothing but who compares times in two logs.
    ahead = answer.clock_offset_s
    if abs(ahead) < WRONG_CLOCK_S:
        return ok("clock", "the database's agrees with this machine's")
    direction = "ahead of" if ahead > 0 else "behind"
    return ok(
        "clock",
        f"the database's is {abs(ahead):.0f} s {direction} this machine's; leases use the database's alone",
    )


def _outdated(address: StorageAddress, status: DatabaseStatus) -> Finding:
    upgrade = f"lrsearch db upgrade --storage {status.masked_url}"
    if address.path is not None and not address.path.exists():
        folder = address.path.absolute().parent
        if os.access(folder, os.W_OK):
            return ok("database", f"{status.masked_url} does not exist yet; the first search makes it")
        return wrong(
            "database", f"{folder} cannot be written", "choose another folder: --storage sqlite:///PATH"
        )
    if status.revision is None or status.optuna_revision is None:
        return warning(
            "tables", f"{status.masked_url} has none of lrsearch yet; the first search makes them", upgrade
        )
    return wrong(
        "tables",
        f"{status.masked_url} has revision {status.revision}, Optuna's {status.optuna_revision}, "
        f"and this version needs {status.head}",
        f"stop all workers, then: {upgrade}",
    )
