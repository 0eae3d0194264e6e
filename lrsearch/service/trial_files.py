"""The two files between ``lrsearch worker`` and the script that it runs: what to train, and how it went.

The worker writes the first, a JSON object. The script appends a JSON object a line to the second::

    {"epoch": 1, "valid_loss": 0.5}      after an epoch; further numbers are metrics
    {"steps_per_epoch": 100}             optimizer updates in an epoch; "part" names the part that they are of
    {"state": "FAIL", "reason": "..."}   how the trial ended, whatever the exit code says

Before the worker sends SIGTERM it makes a third file beside the second, by which the script knows its SIGTERM
from those of others.
"""

import json
import math
import os
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any, Self, SupportsIndex

from lrsearch.code import is_reference, load
from lrsearch.errors import InputError
from lrsearch.results import EpochResult, storable
from lrsearch.schedules import Hyperparameters
from lrsearch.schedules.own import check_same_parameters, register
from lrsearch.spec import optimizer_named

TRIAL_FILE = "LRSEARCH_TRIAL_FILE"
REPORT_FILE = "LRSEARCH_REPORT_FILE"
TERMINATED = 128 + signal.SIGTERM  # exit code of lrsearch.trial() at SIGTERM, and of shells
LONGEST_SHOWN = 80  # characters of a value that an error shows

_COMMON = ("train_loss", "lr", "seconds")  # what an epoch has beside its validation loss and its metrics


@dataclass(frozen=True)
class Assignment:
    """What a script is to train with.

    Args:
        study: name of the study.
        number: of the trial in it.
        epochs: length of the trial.
        optimizer: class in ``torch.optim``.
        hyperparameters: by part; those of a study without parts below None.
    """

    study: str
    number: int
    epochs: int
    optimizer: str
    hyperparameters: Mapping[str | None, Hyperparameters]

    def load_kinds(self, allowed: Collection[str]) -> None:
        """Load the schedules of the user's own that it names.

        Raises:
            CodeNotAllowedError: if one is code that the user did not allow.
        """
        for each in self.hyperparameters.values():
            _load_kind(each.kind, allowed)

    def write(self, path: Path) -> None:
        """Write it as a JSON object."""
        parts = {part: self._part(each) for part, each in self.hyperparameters.items()}
        content = parts.get(None, {"parts": parts})
        head = {"study": self.study, "number": self.number, "epochs": self.epochs}
        path.write_text(json.dumps({**head, **content}, indent=2), encoding="utf-8")

    @classmethod
    def read(cls, path: Path, allowed: Collection[str] = ()) -> Self:
        """Return what a file says.

        Args:
            path: of the file.
            allowed: references of the user's own schedules that may be imported.

        Raises:
            InputError: if there is no such file.
            CodeNotAllowedError: if a schedule is code that the user did not allow.
            StudyConflictError: if that code declares other parameters than the study has.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{TRIAL_FILE} names {str(path)!r}, which does not exist. lrsearch worker sets it for the "
                f"script that it runs; elsewhere, unset it: unset {TRIAL_FILE} {REPORT_FILE}"
            ) from None
        parts = content.get("parts") or {None: content}
        points = {part: _hyperparameters(each, content["study"], allowed) for part, each in parts.items()}
        optimizer = next(iter(parts.values()))["optimizer"]["name"]
        return cls(content["study"], content["number"], content["epochs"], optimizer, points)

    def _part(self, each: Hyperparameters) -> dict[str, Any]:
        arguments = {"lr": each.lr, **optimizer_named(self.optimizer).arguments(each.optimizer)}
        optimizer = {"name": self.optimizer, "arguments": arguments}
        return {"hyperparameters": each.to_point(), "optimizer": optimizer, "frozen": list(each.frozen)}


@dataclass(frozen=True)
class Report:
    """What a script says after an epoch.

    Args:
        epoch: epochs trained so far, from 1.
        valid_loss: loss on the validation split after the epoch; not finite if the training diverged.
        values: further figures by name.
        diverged_above: validation loss above which the training counts as diverged.
    """

    epoch: int
    valid_loss: float
    values: Mapping[str, float] = field(default_factory=dict)
    diverged_above: float = math.inf

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Return what the names and values of a report mean.

        Raises:
            InputError: if a number is missing, or a value is none.
        """
        numbers = {name: _number(name, value) for name, value in content.items() if name != "epoch"}
        for name in numbers:
            if name != storable(name):
                raise InputError(f"the name of a figure must be text that can be stored, but got {name!r}")
        epoch = content.get("epoch")
        if "valid_loss" not in numbers or epoch is None:
            raise InputError(f"a report needs epoch and valid_loss, but got {_shortened(dict(content))}")
        if isinstance(epoch, bool) or not isinstance(epoch, SupportsIndex) or index(epoch) < 1:
            raise InputError(f"epoch must be a whole number from 1, but got {_shortened(epoch)}")
        limit = numbers.pop("diverged_above", math.inf)
        return cls(index(epoch), numbers.pop("valid_loss"), numbers, limit)

    @property
    def diverged(self) -> bool:
        """Whether the training has left all bounds."""
        return not math.isfinite(self.valid_loss) or self.valid_loss > self.diverged_above

    def result(self, trial: int, seconds: float) -> EpochResult:
        """Return the epoch as it is stored; what the script did not say is not a number.

        Args:
            trial: number of the trial.
            seconds: wall time since the epoch before, unless the script says it.
        """
        common = {"train_loss": math.nan, "lr": math.nan, "seconds": seconds}
        common |= {name: value for name, value in self.values.items() if name in _COMMON}
        metrics = {name: value for name, value in self.values.items() if name not in _COMMON}
        return EpochResult(trial, self.epoch, valid_loss=self.valid_loss, metrics=metrics, **common)

    def line(self) -> dict[str, Any]:
        """Return the report as :meth:`of` reads it."""
        limit = {} if math.isinf(self.diverged_above) else {"diverged_above": self.diverged_above}
        return {"epoch": self.epoch, "valid_loss": self.valid_loss, **limit, **self.values}


def check_order(epoch: int, last: int, epochs: int) -> None:
    """Refuse a report of an epoch that cannot follow the last one.

    Args:
        epoch: that is reported.
        last: that was reported before, or 0.
        epochs: length of the trial.

    Raises:
        InputError: with the rule.
    """
    if not last < epoch <= epochs:
        raise InputError(
            f"epochs are reported in rising order, from 1 to the trial's {epochs}; "
            f"got epoch {epoch} after epoch {last}"
        )


def append(path: Path, content: Mapping[str, Any]) -> None:
    """Append an object to a report file, in one write."""
    line = json.dumps(dict(content)) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_line(number: int, line: str) -> dict[str, Any]:
    """Return the object in a line of a report file.

    Raises:
        InputError: if it is none; with the line's number.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):  # no JSON; brackets without end
        content = None
    if not isinstance(content, dict):
        raise InputError(
            f"line {number} of {REPORT_FILE} must be a JSON object such as "
            f'{{"epoch": 1, "valid_loss": 0.5}}, but got {line.strip()[:LONGEST_SHOWN]!r}'
        )
    return content


def ask_to_stop(report_file: Path) -> None:
    """Tell a script that it is the worker who sends it SIGTERM; call it before."""
    _stop_file(report_file).touch()


def asked_to_stop(report_file: Path) -> bool:
    """Return whether the worker has asked the script to stop; else SIGTERM comes from somebody else."""
    return _stop_file(report_file).exists()


def _stop_file(report_file: Path) -> Path:
    return report_file.with_name(f"{report_file.name}.stop")


def _hyperparameters(content: Mapping[str, Any], study: str, allowed: Collection[str]) -> Hyperparameters:
    point = content["hyperparameters"]
    kind = point["kind"]
    _load_kind(kind, allowed)
    if is_reference(kind):
        knobs = [name.removeprefix(f"{kind}.") for name in point if name.startswith(f"{kind}.")]
        check_same_parameters(kind, knobs, study)
    return Hyperparameters.from_point(point, tuple(content.get("frozen", ())))


def _load_kind(kind: str, allowed: Collection[str]) -> None:
    if is_reference(kind):
        register(kind, load(kind, allowed))


def _number(name: str, value: Any) -> float:
    try:
        if not isinstance(value, bool | str):
            return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # a list; several numbers; 401 digits
        pass
    raise InputError(f"{name} must be one number, but got {_shortened(value)}")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
