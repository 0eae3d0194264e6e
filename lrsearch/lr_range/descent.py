"""The descent of a range test: where the loss falls for certain, and where it first rises again."""

from dataclasses import dataclass

import numpy as np

from lrsearch.lr_range.curve import Array, RangeTest
from lrsearch.lr_range.smoothing import BANDWIDTHS, SmoothedCurves, smoothed

SIGNIFICANCE = 5  # standard errors that a difference must exceed; the lowest of many points lies 2 to 3 below
OF_ANY_TWO = 6  # standard errors by which a point must lie above any other before it: there are many pairs
NOTICEABLE = 2  # standard errors by which the loss has fallen where its fall is said to begin
RELATIVE_SIGNIFICANCE = 1e-3  # part of the loss that it must exceed besides
EDGE = 0.1  # part of the descent after which the loss is said to fall, and before which to be at its lowest
SHORTEST_START = 1 / 6  # of the fall's width on the log scale: a shorter flat stretch before it is none
CONSIDERABLE = 0.15  # part of the descent so far: a rise by more ends it


@dataclass(frozen=True)
class Descent:
    """Where the median of the smoothed curves falls.

    Args:
        begin: point at which it begins to fall.
        lowest: point at which it is lowest before it first rises for certain.
        risen: point behind it at which it has risen noticeably, or None.
        starts_flat: whether the loss stays as it was before it falls.
    """

    begin: int
    lowest: int
    risen: int | None
    starts_flat: bool


def smoothed_curves(test: RangeTest) -> SmoothedCurves:
    """Smooth the losses no more than it takes to tell their descent from noise, else the least."""
    curves = [smoothed(test, bandwidth) for bandwidth in BANDWIDTHS]
    return next((each for each in curves if find_descent(test, each) is not None), curves[0])


def find_descent(test: RangeTest, curves: SmoothedCurves) -> Descent | None:
    """Return where the loss falls, or None if it does not before it rises, or not by more than its noise."""
    first_rise = find_rise(test, curves)
    before = curves.median[: len(curves.lrs) if first_rise is None else first_rise]
    if not before.size:
        return None
    start, lowest = _start_level(test, curves), int(np.argmin(before))
    descent = start - float(before[lowest])
    if lowest == 0 or descent <= _significant(curves, 0)[lowest]:
        return None
    fallen = max(EDGE * descent, NOTICEABLE * float(np.hypot(curves.noise[0], curves.noise[lowest])))
    begin = _last_at_least(before[: lowest + 1], start - fallen)
    # Evenly spaced points: their numbers are distances on the log scale.
    starts_flat = begin >= SHORTEST_START * (lowest - begin)
    if not starts_flat and not _below_untrained(test, curves, lowest):
        return None
    return Descent(begin, lowest, _noticed(curves, lowest, first_rise, EDGE * descent), starts_flat)


def find_rise(test: RangeTest, curves: SmoothedCurves) -> int | None:
    """Return the first point at which the loss has risen for certain, and considerably; None if it does not.

    Measured from the lowest so far, the untrained loss included, against the descent so far: an instability
    ends the descent, also one from which the loss comes back. Before the loss falls, against all of the
    descent. A lane that diverges shows a rise at the end, if nothing else does.
    """
    losses = np.array([_untrained(test), *curves.median])
    noise = np.array([curves.scatter, *curves.noise])
    certain = losses - losses[:, None] > _certain(curves, np.hypot(noise, noise[:, None]), OF_ANY_TWO)
    lowest = np.minimum.accumulate(losses)
    descents = _start_level(test, curves) - lowest
    descents = np.where(descents < EDGE * descents[-1], descents[-1], descents)
    # Above any point before it for certain: the lowest may be one that is known badly.
    risen = np.flatnonzero(np.triu(certain).any(axis=0) & (losses - lowest > CONSIDERABLE * descents))
    if risen.size:
        return int(risen[0]) - 1
    return len(curves.lrs) - 1 if any(lane.diverged for lane in test.lanes) else None


def _below_untrained(test: RangeTest, curves: SmoothedCurves, lowest: int) -> bool:
    """Return whether the loss falls, rather than come back from first updates that have been too large."""
    fall = _untrained(test) + curves.scatter - float(curves.median[lowest])
    return bool(fall > _significant(curves, 0)[lowest])


def _noticed(curves: SmoothedCurves, lowest: int, first_rise: int | None, rise: float) -> int | None:
    """Return the first point behind the lowest at which the loss has risen so far; None if it never rises."""
    if first_rise is None:
        return None
    risen = np.flatnonzero(curves.median[lowest : first_rise + 1] - curves.median[lowest] > rise)
    return lowest + int(risen[0]) if risen.size else first_rise


def _start_level(test: RangeTest, curves: SmoothedCurves) -> float:
    """Return the loss before it falls: the first smoothed one, or the untrained one if clearly above."""
    return max(float(curves.median[0]), _untrained(test) - 3 * curves.scatter)


def _untrained(test: RangeTest) -> float:
    return float(np.median([lane.untrained_loss for lane in test.lanes]))


def _significant(curves: SmoothedCurves, point: int) -> Array:
    """Return the difference between a point and every other that chance alone does not make."""
    return _certain(curves, np.hypot(curves.noise, curves.noise[point]), SIGNIFICANCE)


def _certain(curves: SmoothedCurves, noise: Array, significance: float) -> Array:
    return np.asarray(np.maximum(significance * noise, RELATIVE_SIGNIFICANCE * abs(curves.median[0])))


def _last_at_least(losses: Array, level: float) -> int:
    """Return the last point at which the loss is still at that level, the first if there is none."""
    return int(np.flatnonzero(losses >= level)[-1]) if (losses >= level).any() else 0
