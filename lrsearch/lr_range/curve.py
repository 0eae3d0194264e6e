"""The losses of a range test, seed by seed, and their smoothed curves over the logarithm of the lr."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lrsearch.errors import SpecError
from lrsearch.lr_range.divergence import LossWatch
from lrsearch.lr_range.growth import Growth

Array = NDArray[np.float64]

POINTS = 201  # of a smoothed curve
BANDWIDTH = 0.015  # of the smoothing, as a fraction of the range of log lr
BANDWIDTH_STEPS = 2  # of the smoothing at least, in steps
NEIGHBOURS = 12  # steps to each side by which the scatter is judged
MEDIAN_DEVIATION = 0.6745  # of a normal distribution, in standard deviations


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
        updates = max((len(lane.losses) + lane.diverged for lane in self.lanes), default=0)
        losses = max((len(lane.losses) for lane in self.lanes), default=0)
        if not updates or losses > self.growth.steps:
            raise SpecError(
                f"a range test has at least one seed and one update, and one loss at most for each of the "
                f"{self.growth.steps} updates, but got {len(self.lanes)} seeds and {losses} losses"
            )

    @property
    def steps(self) -> int:
        """Updates of the lane that lasted longest, its diverging one included."""
        return min(max(len(lane.losses) + lane.diverged for lane in self.lanes), self.growth.steps)

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


@dataclass(frozen=True, eq=False)
class SmoothedCurves:
    """Loss over lr without its noise, at points that are evenly spaced in log lr.

    Args:
        lrs: learning rates, shape ``[points]``.
        lanes: smoothed losses, shape ``[lanes, points]``.
        noise: standard error that is left in the mean of the lanes, shape ``[points]``.
        scatter: standard error of the mean of the lanes at a single step, without smoothing.
    """

    lrs: Array
    lanes: Array
    noise: Array
    scatter: float

    @property
    def mean(self) -> Array:
        """The mean over the lanes, shape ``[points]``."""
        return np.asarray(self.lanes.mean(axis=0))


def smoothed_curves(test: RangeTest) -> SmoothedCurves:
    """Smooth the losses of every lane over log lr, exponentially and to both sides.

    A smoothed loss is a weighted mean, with weights exp(-|distance in log lr| / bandwidth) of every loss
    around it, so it neither lags behind the learning rate nor starts at zero. A loss also counts by the
    stretch of log lr that it stands for: with linear growth nearly all lie at the upper end. A lane that has
    diverged goes on with the loss at which a curve is cut off.
    """
    lrs = test.growth.lrs()
    position = np.log(lrs)
    # A test that ends with its first update is a point, not a curve.
    points = np.linspace(position[0], position[max(test.steps, 2) - 1], POINTS)
    weights = _weights(points, position, _bandwidth(test.growth))
    losses = np.stack([_whole(lane, test.growth.steps) for lane in test.lanes])
    scatter = np.sqrt((np.stack([_scatter(lane) for lane in losses]) ** 2).sum(axis=0)) / len(test.lanes)
    noise = np.sqrt(((weights * scatter) ** 2).sum(axis=1))
    return SmoothedCurves(np.exp(points), losses @ weights.T, noise, float(scatter[0]))


def cut_off(lane: LaneCurve) -> float:
    """Return the loss at which a curve is cut off: as far above its beginning as its lowest lies below it."""
    beginning = max(lane.untrained_loss, *lane.losses[:5], -math.inf)
    return 2 * beginning - min(lane.untrained_loss, *lane.losses, math.inf)


def _bandwidth(growth: Growth) -> float:
    """Return the bandwidth of the smoothing in log lr."""
    return max(BANDWIDTH, BANDWIDTH_STEPS / growth.steps) * math.log(growth.high / growth.low)


def _weights(points: Array, position: Array, bandwidth: float) -> Array:
    """Return the weight of every loss in every point, shape ``[points, steps]``, each row of sum 1."""
    exponents = -np.abs(points[:, None] - position) / bandwidth
    # The nearest loss has exponent 0, so that no row underflows to zeros.
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True)) * np.gradient(position)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _whole(lane: LaneCurve, steps: int) -> Array:
    """Return a lane's losses, cut off and continued to the last step, shape ``[steps]``."""
    losses = np.minimum(lane.losses, cut_off(lane))
    last = cut_off(lane) if lane.diverged or not lane.losses else losses[-1]
    return np.concatenate([losses, np.full(steps - len(losses), last)])


def _scatter(losses: Array) -> Array:
    """Return the standard deviation of a lane's losses around their trend, step by step, shape ``[steps]``.

    Taken from the differences of neighbours, by the median of those around, which ignores single jumps.
    """
    differences = np.abs(np.diff(losses, prepend=losses[1])) / math.sqrt(2)
    around = np.pad(differences, NEIGHBOURS, mode="reflect")
    return np.asarray(np.median(sliding_window_view(around, 2 * NEIGHBOURS + 1), axis=-1)) / MEDIAN_DEVIATION
