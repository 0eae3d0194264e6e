"""The three zones of a range test: the lr is too low, the loss falls, the loss rises."""

import math
from dataclasses import dataclass, replace

import numpy as np

from lrsearch.errors import InputError
from lrsearch.lr_range.curve import Array, RangeTest, SmoothedCurves, smoothed_curves
from lrsearch.lr_range.growth import Growth

SIGNIFICANCE = 5  # standard errors that a descent must exceed; the lowest of many points lies 2 to 3 below
RELATIVE_SIGNIFICANCE = 1e-3  # part of the loss that it must exceed besides
EDGE = 0.1  # part of the descent after which the loss is said to fall, and before which to be at its lowest
SHORTEST_START = 1 / 6  # of the falling zone's width on the log scale: a shorter zone is no zone
ZOOM_MARGIN = 3.0
HINTED_FACTOR = 10.0  # how much lower or higher the next test is advised to go

NEVER_FALLS = (
    "the loss never falls: model, optimizer or data are at fault rather than the learning rate. Check that "
    "the loss fits the targets, that parameters are trained (requires_grad, frozen groups), and that inputs "
    "and targets belong together"
)
NEVER_FALLS_BUT_RISES = (
    "the loss rises without having fallen: begin lower, such as --min {lower:.3g}. If it still never falls, "
    "model, optimizer or data are at fault rather than the learning rate"
)
NEVER_RISES = (
    "the loss never rises: the largest useful lr may lie higher. Raise --max, such as --max {higher:.3g}"
)
FALLS_AT_ONCE = (
    "the loss falls from the first step: the smallest useful lr may lie lower. Lower --min, such as "
    "--min {lower:.3g}"
)


@dataclass(frozen=True)
class LrInterval:
    """Learning rates from ``low`` to ``high``.

    Args:
        low: smallest learning rate.
        high: largest learning rate.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Zones:
    """What a range test shows; a zone that it does not show is None.

    Args:
        too_low: the loss stays as it was.
        falling: the loss falls, down to its lowest.
        rising: the loss rises, or is no longer finite.
        limit: a learning rate at which the loss has risen noticeably, or None.
        hints: a sentence for each missing zone: what may be at fault, what to change.
    """

    too_low: LrInterval | None
    falling: LrInterval | None
    rising: LrInterval | None
    limit: float | None
    hints: tuple[str, ...] = ()


def find_zones(test: RangeTest) -> Zones:
    """Find the zones in the mean of the smoothed curves."""
    curves = smoothed_curves(test)
    start, lowest = _start_level(test, curves), int(np.argmin(curves.mean))
    descent = start - float(curves.mean[lowest])
    if lowest == 0 or descent <= _significant(curves, 0)[lowest]:
        return _without_fall(test, curves)
    begin = _last_at_least(curves.mean[: lowest + 1], start - EDGE * descent)
    risen = _risen(test, curves, lowest, EDGE * descent)
    lrs = [float(lr) for lr in curves.lrs]
    starts_flat = math.log(lrs[begin] / lrs[0]) >= SHORTEST_START * math.log(lrs[lowest] / lrs[begin])
    hints = {FALLS_AT_ONCE: not starts_flat, NEVER_RISES: risen is None}
    return Zones(
        too_low=LrInterval(lrs[0], lrs[begin]) if starts_flat else None,
        falling=LrInterval(lrs[begin] if starts_flat else lrs[0], lrs[lowest]),
        rising=None if risen is None else LrInterval(lrs[lowest], lrs[-1]),
        limit=None if risen is None else lrs[risen],
        hints=tuple(_filled(hint, test) for hint, missing in hints.items() if missing),
    )


def zoomed(test: RangeTest) -> Growth:
    """Return a slower growth: as many steps from before the falling zone to behind the beginning of the rise.

    A factor of 3 to both sides, though no further than the test went.

    Raises:
        InputError: if there is no falling zone.
    """
    zones = find_zones(test)
    if zones.falling is None:
        raise InputError(f"--zoom needs a falling zone to zoom into, and there is none: {zones.hints[0]}")
    low = max(zones.falling.low / ZOOM_MARGIN, test.growth.low)
    high = min((zones.limit or zones.falling.high) * ZOOM_MARGIN, test.growth.high)
    return replace(test.growth, low=low, high=high)


def _without_fall(test: RangeTest, curves: SmoothedCurves) -> Zones:
    risen = _risen(test, curves, 0, 0.0)
    whole = LrInterval(float(curves.lrs[0]), float(curves.lrs[-1]))
    if risen is None:
        return Zones(whole, None, None, None, (NEVER_FALLS,))
    limit = float(curves.lrs[risen])
    return Zones(None, None, LrInterval(limit, whole.high), limit, (_filled(NEVER_FALLS_BUT_RISES, test),))


def _start_level(test: RangeTest, curves: SmoothedCurves) -> float:
    """Return the loss before it falls: the first smoothed one, or the untrained one if clearly above."""
    untrained = float(np.mean([lane.untrained_loss for lane in test.lanes]))
    return max(float(curves.mean[0]), untrained - 3 * curves.scatter)


def _risen(test: RangeTest, curves: SmoothedCurves, lowest: int, rise: float) -> int | None:
    """Return the first point behind the lowest at which the loss has risen so far, or None.

    Provided that somewhere behind the lowest point it has risen for certain.
    """
    rises = curves.mean[lowest:] - curves.mean[lowest]
    certain = rises > np.maximum(rise, _significant(curves, lowest)[lowest:])
    if certain.any():
        return lowest + int(np.argmax(rises > rise if rise else certain))
    return len(curves.lrs) - 1 if any(lane.diverged for lane in test.lanes) else None


def _significant(curves: SmoothedCurves, point: int) -> Array:
    """Return the difference between a point and every other that chance alone does not make."""
    noise = np.hypot(curves.noise, curves.noise[point])
    return np.asarray(np.maximum(SIGNIFICANCE * noise, RELATIVE_SIGNIFICANCE * abs(curves.mean[0])))


def _last_at_least(losses: Array, level: float) -> int:
    """Return the last point at which the loss is still at that level, the first if there is none."""
    return int(np.flatnonzero(losses >= level)[-1]) if (losses >= level).any() else 0


def _filled(hint: str, test: RangeTest) -> str:
    return hint.format(lower=test.growth.low / HINTED_FACTOR, higher=test.growth.high * HINTED_FACTOR)
