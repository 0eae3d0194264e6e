"""A checkpoint: the lanes of an array in one file, written whole or not at all, and trusted with nothing."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from lrsearch.training.saved_lane import SavedLane

FORMAT = 1
PARTIAL = ".part"


class CheckpointError(Exception):
    """Raised when a checkpoint cannot be read; its trials begin anew."""


@dataclass(frozen=True)
class Identity:
    """Which training a saved lane belongs to: it goes on with no other.

    Args:
        study_uuid: our key of the study.
        trial: its number there.
        digest: of all that decides its losses.
    """

    study_uuid: str
    trial: int
    digest: str


def write_checkpoint(path: Path, lanes: Mapping[Identity, SavedLane]) -> None:
    """Write lanes into one file, which appears complete or not at all.

    Args:
        path: of the file, in a folder that exists.
        lanes: of one study.

    Raises:
        OSError: if the disk is full, or the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "lanes": [{**vars(identity), "lane": lane.content()} for identity, lane in lanes.items()],
    }
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        cause = _os_error(error)
        if cause is not None:
            raise cause from None
        raise


def _check_sums(path: Path) -> None:
    """Refuse a file that has changed since it was written, which PyTorch does not see.

    Raises:
        BadZipFile: if it has.
    """
    with ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise BadZipFile(f"{damaged} is damaged")


def read_checkpoint(path: Path) -> dict[Identity, SavedLane]:
    """Return the lanes in a file; nothing in it is ever run.

    Raises:
        CheckpointError: if there is no such file, or it is damaged, or none of ours.
    """
    try:
        _check_sums(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        found = content["format"]
        lanes = dict(_lane(entry) for entry in content["lanes"]) if found == FORMAT else {}
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}; does every worker see this folder?") from None
    except Exception as error:  # whatever torch, or a damaged file's content, raises
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}") from error
    if found != FORMAT:
        raise CheckpointError(f"{path} has format {found}, and this version reads {FORMAT}")
    return lanes


def _os_error(error: BaseException | None) -> OSError | None:
    """Return why writing failed: of a full disk PyTorch tells only in the context of its own error."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        error = error.__context__
    return None


def _lane(entry: Mapping[str, Any]) -> tuple[Identity, SavedLane]:
    identity = Identity(str(entry["study_uuid"]), int(entry["trial"]), str(entry["digest"]))
    return identity, SavedLane.of(entry["lane"])
