"""A trial's training as it was after an epoch: all that it goes on from, as plain values and tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from lrsearch.schedules.plateau import PlateauState, State

_CPU = torch.device("cpu")


class MisfitError(ValueError):
    """Raised when a saved lane is none that this array can go on with."""


@dataclass(frozen=True)
class SavedLane:
    """What a lane goes on from. Randomness is none of it: seed and epoch decide that.

    Args:
        trainer: name of the kind of array that saved it, the only one that can go on with it.
        epoch: epochs trained.
        schedule: the state of its schedule, or None.
        values: parameters, buffers, and what the optimizer remembers: tensors on the CPU, numbers, and lists
            and dictionaries of both.
    """

    trainer: str
    epoch: int
    schedule: State | None
    values: Mapping[str, Any]

    def content(self) -> dict[str, Any]:
        """Return it as plain values, which ``torch.load(weights_only=True)`` reads."""
        kind = "plateau" if isinstance(self.schedule, PlateauState) else "losses"
        schedule = None if self.schedule is None else {kind: list(self.schedule)}
        return {
            "trainer": self.trainer,
            "epoch": self.epoch,
            "schedule": schedule,
            "values": dict(self.values),
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Return the saved lane in plain values.

        Raises:
            ValueError, TypeError, KeyError: if it is none.
        """
        return cls(
            str(content["trainer"]),
            int(content["epoch"]),
            _schedule_state(content["schedule"]),
            dict(content["values"]),
        )

    def check(self, trainer: str, epochs: int) -> None:
        """Refuse a lane of another kind of array, or one that is at its end.

        Raises:
            MisfitError: with the rule.
        """
        if self.trainer != trainer:
            raise MisfitError(
                f"it was saved by the {self.trainer} trainer, and is trained by the {trainer} one"
            )
        if not 1 <= self.epoch < epochs:
            raise MisfitError(f"it has {self.epoch} epochs of {epochs}")


def copied(value: Any) -> Any:
    """Return a copy of tensors, and of what holds tensors, on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to(_CPU, copy=True)
    if isinstance(value, Mapping):
        return {key: copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(each) for each in value)
    return value


def fill(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy saved values into tensors of the same names and shapes.

    Raises:
        MisfitError: if names or shapes differ.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    saved = {name: tuple(tensor.shape) for name, tensor in values.items()}
    if shapes != saved:
        differing = sorted(
            name for name in shapes.keys() | saved.keys() if shapes.get(name) != saved.get(name)
        )
        raise MisfitError(f"its tensor {differing[0]!r} has another shape, or does not exist in both")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(values[name])


def _schedule_state(content: Mapping[str, Any] | None) -> State | None:
    if content is None:
        return None
    if "plateau" in content:
        lr, best, bad_epochs, cooldown_left = content["plateau"]
        return PlateauState(float(lr), float(best), int(bad_epochs), int(cooldown_left))
    return tuple(float(loss) for loss in content["losses"])
