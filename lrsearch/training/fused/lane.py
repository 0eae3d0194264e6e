"""A trial's place in a fused array, and which lanes see the same batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from lrsearch.schedules import Schedule, State
from lrsearch.schedules.formulas import Floats
from lrsearch.training.fused.optimizers import LaneSettings


@dataclass
class Lane:
    """A trial in training; its row in the stacks is its place in the list of lanes.

    Args:
        trial: its number.
        schedule: its learning rates.
        state: of the schedule.
        seed: of its weights, batch order and all other randomness.
        arguments: of its optimizer, after lr.
        scales: factor on lr of each trained parameter.
        epoch: epochs trained.
    """

    trial: int
    schedule: Schedule
    state: State | None
    seed: int
    arguments: dict[str, object]
    scales: tuple[float, ...]
    epoch: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """What lanes share that see the same batches: seed and epoch."""
        return self.seed, self.epoch

    def settings(self, lrs: Floats) -> LaneSettings:
        """Return what the optimizer does in the next epoch, whose learning rates are given."""
        return LaneSettings(self.arguments, self.scales, self.epoch * self.schedule.steps_per_epoch, lrs)


def neighbours(lanes: Sequence[Lane]) -> list[tuple[slice, Lane]]:
    """Return the runs of lanes that see the same batches, each with its first lane."""
    found, first = [], 0
    for _place, group in groupby(lanes, key=lambda lane: lane.place):
        run = list(group)
        found.append((slice(first, first + len(run)), run[0]))
        first += len(run)
    return found


def split(rows: slice, size: int) -> list[slice]:
    """Return rows in parts of a size at most."""
    return [slice(first, min(first + size, rows.stop)) for first in range(rows.start, rows.stop, size)]
