"""Which learning rates a range test suggests: several rules, and what they agree on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from lrsearch.lr_range.curve import Array, RangeTest
from lrsearch.lr_range.descent import smoothed_curves
from lrsearch.lr_range.zones import LrInterval, Zones, find_zones

WIDENING = 3.0  # how far beyond the interval a search looks, to both sides
LEFT_OF_RISE = 2.0  # factor between the end of the interval and the rise
LEFT_OF_ZERO_SLOPE = 2.0
ZERO_SLOPE = 0.1  # of the steepest slope
VALLEY_POINT = 2 / 3  # of the way down
DISTINCT = 1.5  # factor: suggestions nearer to each other than that are one first trial
BUMP = 0.05  # of the whole descent: a smaller rise does not end a run


@dataclass(frozen=True)
class Suggestion:
    """What one rule suggests.

    Args:
        rule: its name, one of ``RULES``.
        lrs: by seed, in the order of the lanes.
        lr: their geometric median.
        spread: factor within which all of them lie of it, at least 1.
    """

    rule: str
    lrs: tuple[float, ...]
    lr: float
    spread: float


@dataclass(frozen=True)
class Suggestions:
    """What a range test suggests; without a falling zone, nothing.

    Args:
        rules: one suggestion per rule.
        lr: geometric median over seeds and rules, or None.
        spread: factor within which the rules' rates lie of it, at least 1, or None.
        interval: from where the loss begins to fall to where it is lowest, a factor of 2 left of its rise.
    """

    rules: tuple[Suggestion, ...]
    lr: float | None
    spread: float | None
    interval: LrInterval | None


@dataclass(frozen=True)
class SearchBounds:
    """Where a search should look for the learning rate.

    Args:
        low: smallest learning rate.
        high: largest learning rate.
        interval_low: where the falling zone begins.
        interval_high: where it safely ends.
        lrs: learning rates worth a first trial: the consensus, then what other rules say.
    """

    low: float
    high: float
    interval_low: float
    interval_high: float
    lrs: tuple[float, ...]


def suggestions(test: RangeTest) -> Suggestions:
    """Apply every rule to every seed's smoothed curve, where the median of the curves falls.

    A rate outside the interval, such as a tenth of a lowest that is near its beginning, is moved to its end.
    """
    zones, curves = find_zones(test), smoothed_curves(test)
    if zones.falling is None:
        return Suggestions((), None, None, None)
    falls = (curves.lrs >= zones.falling.low) & (curves.lrs <= zones.falling.high)
    interval = _interval(zones.falling, zones)
    rules = tuple(_suggestion(name, curves.lrs[falls], curves.lanes[:, falls], interval) for name in RULES)
    lr = _geometric_median([lr for rule in rules for lr in rule.lrs])
    return Suggestions(rules, lr, _spread(lr, [rule.lr for rule in rules]), interval)


def widened(interval: LrInterval, factor: float = WIDENING) -> LrInterval:
    """Return an interval that reaches further by a factor to both sides."""
    return LrInterval(interval.low / factor, interval.high * factor)


def search_bounds(found: Suggestions, widening: float = WIDENING) -> SearchBounds | None:
    """Return where a search should look, in two digits; None if nothing is suggested.

    Args:
        found: what a range test suggests.
        widening: factor by which the bounds lie beyond the interval, to both sides.
    """
    if found.interval is None or found.lr is None:
        return None
    bounds = widened(found.interval, widening)
    lrs: list[float] = []
    for lr in (found.lr, *(rule.lr for rule in found.rules)):
        if all(max(lr / other, other / lr) > DISTINCT for other in lrs):
            lrs.append(rounded(lr))
    return SearchBounds(
        low=rounded(bounds.low),
        high=rounded(bounds.high),
        interval_low=rounded(found.interval.low),
        interval_high=rounded(found.interval.high),
        lrs=tuple(lrs),
    )


def rounded(lr: float) -> float:
    """Return a learning rate in two significant digits: a range test knows no more."""
    return float(f"{lr:.2g}")


def steepest(lrs: Array, losses: Array) -> float:
    """Return where the loss falls fastest against LOG lr: against lr itself, small rates would win.

    Args:
        lrs: evenly spaced in log lr, shape ``[points]``.
        losses: smoothed, shape ``[points]``.
    """
    return float(lrs[np.argmin(_slope(lrs, losses))])


def valley(lrs: Array, losses: Array) -> float:
    """Return the point two thirds down the longest decreasing run, on the scale of log lr.

    The rule of fastai's ``lr_find``. Bumps smaller than a twentieth of the descent do not end a run.

    Args:
        lrs: evenly spaced in log lr, shape ``[points]``.
        losses: smoothed, shape ``[points]``.
    """
    begin, end = _longest_run(losses, BUMP * float(np.ptp(losses)))
    return float(lrs[begin] * (lrs[end] / lrs[begin]) ** VALLEY_POINT)


def minimum_tenth(lrs: Array, losses: Array) -> float:
    """Return a tenth of the lr at the lowest loss."""
    return float(lrs[np.argmin(losses)]) / 10


def zero_slope(lrs: Array, losses: Array) -> float:
    """Return half the lr at which, behind the steepest descent, the slope against log lr nears zero.

    Args:
        lrs: evenly spaced in log lr, shape ``[points]``.
        losses: smoothed, shape ``[points]``.
    """
    slope = _slope(lrs, losses)
    steepest_point = int(np.argmin(slope))
    nearly_zero = slope[steepest_point:] >= ZERO_SLOPE * slope[steepest_point]
    point = steepest_point + int(np.argmax(nearly_zero)) if nearly_zero.any() else len(lrs) - 1
    return float(lrs[point]) / LEFT_OF_ZERO_SLOPE


RULES: Mapping[str, Callable[[Array, Array], float]] = MappingProxyType(
    {"steepest": steepest, "valley": valley, "minimum / 10": minimum_tenth, "zero slope": zero_slope}
)


def _suggestion(name: str, lrs: Array, lanes: Array, interval: LrInterval) -> Suggestion:
    found = tuple(_within(RULES[name](lrs, losses), interval) for losses in lanes)
    lr = _geometric_median(found)
    return Suggestion(name, found, lr, _spread(lr, found))


def _within(lr: float, interval: LrInterval) -> float:
    return min(max(lr, interval.low), interval.high)


def _interval(falling: LrInterval, zones: Zones) -> LrInterval:
    high = falling.high if zones.limit is None else min(falling.high, zones.limit / LEFT_OF_RISE)
    # A zone narrower than the safety factor is taken whole.
    return LrInterval(falling.low, high if high > falling.low else falling.high)


def _slope(lrs: Array, losses: Array) -> Array:
    return np.asarray(np.gradient(losses, np.log(lrs)))


def _longest_run(losses: Array, bump: float) -> tuple[int, int]:
    """Return first and last point of the run that descends furthest, rising nowhere by more than a bump."""
    longest, begin, lowest = (0, 0), 0, 0
    for point, loss in enumerate(losses):
        if loss < losses[lowest]:
            lowest = point
        elif loss > losses[lowest] + bump or loss > losses[begin]:
            begin = lowest = point
        if losses[begin] - losses[lowest] > losses[longest[0]] - losses[longest[1]]:
            longest = begin, lowest
    return longest


def _geometric_median(lrs: Sequence[float]) -> float:
    return math.exp(float(np.median(np.log(lrs))))


def _spread(center: float, lrs: Sequence[float]) -> float:
    return float(np.exp(np.abs(np.log(np.array(lrs) / center)).max()))
