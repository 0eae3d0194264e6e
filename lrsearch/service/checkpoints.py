"""A worker's checkpoints: where they lie, when they are written, and when they are deleted."""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from lrsearch.results import Claim, in_one_line
from lrsearch.schedules import Hyperparameters
from lrsearch.service.checkpoint_folder import is_stale
from lrsearch.spec.study_spec import RunSpec

if TYPE_CHECKING:
    from lrsearch.training.checkpoint import Identity
    from lrsearch.training.saved_lane import SavedLane

_log = logging.getLogger(__name__)

SUFFIX = ".pt"
LARGEST_SHARE = 0.05  # of a worker's time goes into checkpoints
BYTES_PER_GB = 1e9


def digest_of(hyperparameters: Hyperparameters, *others: object) -> str:
    """Return a digest of all that decides a trial's losses."""
    content = [hyperparameters.to_point(), list(hyperparameters.frozen), *map(str, others)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Checkpoints:
    """The checkpoints that one worker reads and writes for one study.

    No file is ever overwritten: each has a name of its own, and the slots say which one counts. So a worker
    that has lost a trial can change nothing for its new holder.

    Args:
        folder: of the study.
        study_uuid: our key of the study.
        worker: its name.
        run: says how often, and how much.
        notify: is told, once for each kind, what the user should know.
    """

    def __init__(
        self, folder: Path, study_uuid: str, worker: str, run: RunSpec, notify: Callable[[str], None]
    ) -> None:
        self._folder, self._study_uuid, self._run, self._notify = folder, study_uuid, run, notify
        # With a token: another worker may have, or have had, the same name.
        self._prefix = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', worker)}-{uuid4().hex[:8]}"
        self._written = 0
        self._next_s = time.monotonic() + run.checkpoint_every_s
        self._told: set[str] = set()
        self._inherited: set[str] = set()  # files of others that this worker has read
        self._read: tuple[str, Mapping[Identity, SavedLane]] = ("", {})  # the latest file

    @property
    def wanted(self) -> bool:
        """Whether any are written."""
        return self._run.checkpoint_max_gb > 0

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        return self.wanted and time.monotonic() >= self._next_s

    def read(self, claim: Claim, digest: str) -> "SavedLane | None":
        """Return what the trial of a claim goes on from; None if it begins anew.

        Args:
            claim: with a trial.
            digest: of all that decides its losses.
        """
        if claim.checkpoint is None or claim.trial is None:
            return None
        from lrsearch.training.checkpoint import CheckpointError, Identity, read_checkpoint  # imports torch

        try:
            self._inherited.add(claim.checkpoint)
            if self._read[0] != claim.checkpoint:
                self._read = (claim.checkpoint, read_checkpoint(self._folder / Path(claim.checkpoint).name))
            return self._read[1][Identity(self._study_uuid, claim.trial, digest)]
        except CheckpointError as error:
            self._tell("read", f"trials begin anew, as their checkpoint is of no use: {error}")
        except KeyError:
            self._tell(
                "other", f"trial {claim.trial} begins anew: its checkpoint was made with other settings"
            )
        return None

    def forget_read(self) -> None:
        """Free the memory of what was read."""
        self._read = ("", {})

    def write(self, lanes: "Mapping[tuple[int, str], SavedLane]") -> str | None:
        """Write a file, and return its name; None if it cannot be written, which costs nothing but safety.

        Args:
            lanes: by the trial's number and the digest of all that decides its losses.
        """
        from lrsearch.training.checkpoint import Identity, write_checkpoint  # here, because it imports torch

        begun = time.monotonic()
        name = f"{self._prefix}-{self._written + 1}{SUFFIX}"
        content = {Identity(self._study_uuid, *key): lane for key, lane in lanes.items()}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._has_room(lanes.values()):
                return None
            write_checkpoint(self._folder / name, content)
        except OSError as error:
            self._tell("write", f"no checkpoint was written: {error.strerror or error}: {self._folder}")
            return None
        except Exception as error:  # what a user's model keeps in its tensors may be of any kind
            self._tell("kind", f"no checkpoint was written: {in_one_line(error)}")
            return None
        finally:
            took_s = time.monotonic() - begun
            self._next_s = time.monotonic() + max(self._run.checkpoint_every_s, took_s / LARGEST_SHARE)
        self._written += 1
        return name

    def sweep(self, named: set[str], *, all_ended: bool) -> None:
        """Delete files that no slot names: this worker's, those that it went on from, and stale ones.

        Args:
            named: the files that slots name.
            all_ended: whether the study's trials have all ended, so that no file is of use.
        """
        with suppress(OSError):  # others sweep too, and what is left is found by lrsearch gc
            for path in list(self._folder.iterdir()):
                mine = path.name.startswith(f"{self._prefix}-") or path.name in self._inherited
                if path.name not in named and (mine or all_ended or is_stale(path)):
                    path.unlink(missing_ok=True)
            self._folder.rmdir()  # which an empty one alone allows

    def _has_room(self, lanes: "Iterable[SavedLane]") -> bool:
        taken = sum(map(_file_bytes, self._folder.glob(f"*{SUFFIX}")))
        needed = sum(_size_bytes(lane.values) for lane in lanes)
        if taken + needed <= self._run.checkpoint_max_gb * BYTES_PER_GB:
            return True
        self._tell(
            "full",
            f"no checkpoint was written: it would take {needed / BYTES_PER_GB:.3g} GB, and others have "
            f"{taken / BYTES_PER_GB:.3g} of run.checkpoint_max_gb = {self._run.checkpoint_max_gb:g} in "
            f"{self._folder}",
        )
        return False

    def _tell(self, kind: str, text: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._notify(text)
        else:
            _log.info(text)


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another worker has swept it
        return 0


def _size_bytes(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(_size_bytes(each) for each in value.values())
    if isinstance(value, list | tuple):
        return sum(_size_bytes(each) for each in value)
    return int(getattr(value, "nbytes", 0))
