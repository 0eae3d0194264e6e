"""The losses of a range test, seed by seed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lrsearch.errors import SpecError
from lrsearch.lr_range.divergence import LossWatch
from lrsearch.lr_range.growth import Growth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LaneCurve:
    """What one seed's lane measured.

    Args:
        seed: of initial weights, batch order and all other randomness.
        untrained_loss: loss before any update.
        losses: finite; number i is the loss on the batch after update i, so the first to show what the
            learning rate of that update did.
        diverged: whether the lane ended because its loss left all bounds; it may have been not finite, and
            so is not among ``losses``.

    Raises:
        SpecError: if a loss is not finite.
    """

    seed: int
    untrained_loss: float
    losses: tuple[float, ...]
    diverged: bool = False

    def __post_init__(self) -> None:
        for step, loss in enumerate((self.untrained_loss, *self.losses)):
            if not math.isfinite(loss):
                raise SpecError(
                    f"a range test keeps finite losses alone, but got {loss} after {step} updates with seed "
                    f"{self.seed}; lane_curve() ends a curve where it diverges"
                )

    @property
    def updates(self) -> int:
        """Updates that were made; the diverging one is among the losses only where its loss was finite."""
        if not self.diverged:
            return len(self.losses)
        watch = LossWatch()
        kept = any(watch.diverges(loss) for loss in (self.untrained_loss, *self.losses))
        return len(self.losses) + (not kept)


def lane_curve(seed: int, untrained_loss: float, losses: Iterable[float]) -> LaneCurve:
    """Return a lane's curve up to where it diverges.

    Args:
        seed: of the lane.
        untrained_loss: loss before any update, finite.
        losses: loss on the batch after each update; may hold NaN and infinities.
    """
    watch, kept = LossWatch(), []
    watch.diverges(untrained_loss)
    for loss in losses:
        diverged = watch.diverges(loss)
        if math.isfinite(loss):
            kept.append(loss)
        if diverged:
            return LaneCurve(seed, untrained_loss, tuple(kept), diverged=True)
    return LaneCurve(seed, untrained_loss, tuple(kept))


@dataclass(frozen=True)
class RangeTest:
    """A whole range test: the same growth of the learning rate over several seeds.

    Args:
        task: name of the task.
        growth: of the learning rate.
        lanes: one curve per seed.
        settings: what else decided the losses, as plain JSON values: optimizer, its knobs, batch size, ...

    Raises:
        SpecError: if there is no lane, no update, or a lane has more losses than the growth has steps.
    """

    task: str
    growth: Growth
    lanes: tuple[LaneCurve, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        updates = max((lane.updates for lane in self.lanes), default=0)
        losses = max((len(lane.losses) for lane in self.lanes), default=0)
        if not updates or losses > self.growth.steps:
            raise SpecError(
                f"a range test has at least one seed and one update, and one loss at most for each of the "
                f"{self.growth.steps} updates, but got {len(self.lanes)} seeds and {losses} losses"
            )

    @property
    def steps(self) -> int:
        """Updates of the lane that lasted longest, its diverging one included."""
        return min(max(lane.updates for lane in self.lanes), self.growth.steps)

    def lrs(self) -> Array:
        """Return the learning rate of every update that was made, shape ``[steps]``."""
        return self.growth.lrs()[: self.steps]

    def to_json(self) -> dict[str, Any]:
        """Return the test as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the test that :meth:`to_json` wrote."""
        lanes = tuple(LaneCurve(**{**lane, "losses": tuple(lane["losses"])}) for lane in values["lanes"])
        return cls(values["task"], Growth(**values["growth"]), lanes, values["settings"])
