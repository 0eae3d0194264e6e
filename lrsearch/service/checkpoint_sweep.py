"""Deletes checkpoints that no trial needs any more."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from lrsearch.service.checkpoint_folder import checkpoint_folder, is_stale
from lrsearch.storage.checkpoints import named_checkpoints
from lrsearch.storage.database import Database
from lrsearch.storage.orphans import orphans
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import StudyRecord, list_studies


@dataclass(frozen=True)
class SweptFolder:
    """A study's folder in which there is something to delete.

    Args:
        study: name of the study; None if the database has none of its UUID.
        path: of the folder.
        files: number of files.
        size_bytes: of these files together.
    """

    study: str | None
    path: Path
    files: int
    size_bytes: int


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Args:
        deleted: what was deleted, or would be.
        left: folders of studies that this database does not know, in a folder that others may share.
    """

    deleted: tuple[SweptFolder, ...]
    left: tuple[SweptFolder, ...]


def sweep_checkpoints(database: Database, *, dry_run: bool, unknown: bool) -> Sweep:
    """Delete the checkpoints that no slot of a stored study names, and those of studies that are gone.

    While a study goes on, a file that is younger than an hour is left: its worker may be about to name it.

    Args:
        database: which says what is needed.
        dry_run: whether nothing is deleted.
        unknown: whether studies that the database does not know count as gone, although they may be those of
            another database that shares the folder.

    Raises:
        OSError: if a folder cannot be read, or a file not deleted.
    """
    own = checkpoint_folder(database.address)
    folders = [path for root in _roots(database, own) for path in _folders_of_studies(root)]
    records = {record.uuid: record for record in list_studies(database)}
    gone = set(database.read(orphans))
    deleted, left = [], []
    for path in folders:
        record = records.get(path.name)
        files = _files(database, path, record)
        if record is None and not (unknown or path.name in gone or _is_private(database, path.parent)):
            left.append(_swept(None, path, files))
            continue
        deleted.append(_swept(record, path, files))
        if not dry_run:
            _delete(path, files)
    return Sweep(*(tuple(each for each in found if each.files) for found in (deleted, left)))


def delete_checkpoints(database: Database, record: StudyRecord) -> None:
    """Delete all checkpoints of a study that is deleted."""
    path = checkpoint_folder(database.address, record.run.get("checkpoint_dir")) / record.uuid
    with suppress(OSError):  # what another user's workers wrote is theirs to delete
        _delete(path, list(path.iterdir()))


def _roots(database: Database, own: Path) -> set[Path]:
    named = {record.run.get("checkpoint_dir") for record in list_studies(database)}
    return {own, *(checkpoint_folder(database.address, directory) for directory in named if directory)}


def _is_private(database: Database, root: Path) -> bool:
    """Return whether a folder is that beside a SQLite file, in which no other database has anything."""
    path = database.address.path
    return path is not None and root == path.with_name(f"{path.name}.checkpoints")


def _folders_of_studies(root: Path) -> list[Path]:
    paths = sorted(root.iterdir()) if root.is_dir() else []
    return [path for path in paths if _is_uuid(path.name) and path.is_dir() and not path.is_symlink()]


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _files(database: Database, path: Path, record: StudyRecord | None) -> list[Path]:
    """Return the files of a study's folder that are of no use."""
    files = sorted(path.iterdir())
    if record is None or Slots(database, record.uuid).all_ended():
        return files
    named = named_checkpoints(database, record.uuid)
    return [file for file in files if file.name not in named and is_stale(file)]


def _swept(record: StudyRecord | None, path: Path, files: list[Path]) -> SweptFolder:
    size_bytes = sum(file.stat().st_size for file in files)
    return SweptFolder(None if record is None else record.name, path, len(files), size_bytes)


def _delete(path: Path, files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty
        path.rmdir()
        path.parent.rmdir()
