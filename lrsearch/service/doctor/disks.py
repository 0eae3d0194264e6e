"""Checks of disks and data: space, network file systems below SQLite, whole data sets."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from lrsearch.errors import LrsearchError
from lrsearch.service.doctor.finding import Finding, ok, warning, wrong
from lrsearch.storage.address import parse_address
from lrsearch.tasks import files

LEAST_FREE_BYTES = 2**30
NETWORK_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "ncp",
    "afs",
    "9p",
    "ceph",
    "glusterfs",
    "lustre",
    "gpfs",
    "beegfs",
)
ALWAYS_LOOKED_AT = "mnist"  # the default study's


def check_sqlite_disk(url: str | None) -> Iterator[Finding]:
    """Look at the disk of a SQLite file.

    Args:
        url: as for ``parse_address``.
    """
    try:
        path = parse_address(url).path
    except LrsearchError:
        return  # the check of the database says so
    if path is None:
        return
    yield from check_space("disk of the database", path.absolute().parent)
    kind = file_system(path)
    if kind is not None and is_network(kind):
        yield warning(
            "file system",
            f"{path} lies on {kind}, where SQLite's locks are not reliable",
            "move it to a local disk, or use PostgreSQL where several machines work on a study",
        )


def check_space(check: str, folder: Path) -> Iterator[Finding]:
    """Look at how much a folder's disk can take.

    Args:
        check: what the finding is called.
        folder: it need not exist.
    """
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    found = f"{folder}: {free / 2**30:,.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        yield warning(check, found, "make room, or choose a folder on another disk")
    elif not os.access(existing, os.W_OK):
        yield warning(
            check, f"{folder} cannot be written", "change its permissions, or choose another folder"
        )
    else:
        yield ok(check, found)


def check_data(folder: Path) -> Iterator[Finding]:
    """Look for whole data sets.

    Args:
        folder: of the data sets.
    """
    for name in files.datasets():
        unfit = files.unfit_files(name, folder)
        damaged = [path.name for path, exists in unfit.items() if exists]
        fetch = f"lrsearch data fetch {name} --data-dir {folder}"
        if damaged:
            yield wrong(f"data {name}", f"{', '.join(damaged)} in {folder} is damaged", fetch)
        elif not unfit:
            yield ok(f"data {name}", f"whole, in {folder}")
        elif name == ALWAYS_LOOKED_AT:
            yield warning(f"data {name}", f"not in {folder} yet; the first search fetches it", fetch)


def file_system(path: Path) -> str | None:
    """Return the kind of file system that a path lies on, or None if it is unknown."""
    where = path.absolute()
    mounts = {Path(each.mountpoint): str(each.fstype) for each in psutil.disk_partitions(all=True)}
    return next((mounts[each] for each in (where, *where.parents) if each in mounts), None)


def is_network(kind: str) -> bool:
    """Return whether a kind of file system is one of a network."""
    return kind.lower().removeprefix("fuse.").startswith(NETWORK_FILE_SYSTEMS)
