"""The three zones of a range test: the lr is too low, the loss falls, the loss rises."""

import math
from dataclasses import dataclass, replace

from lrsearch.errors import InputError
from lrsearch.lr_range.curve import RangeTest
from lrsearch.lr_range.descent import Descent, find_descent, find_rise, smoothed_curves
from lrsearch.lr_range.growth import Growth
from lrsearch.lr_range.smoothing import SmoothedCurves

ZOOM_MARGIN = 3.0
HINTED_FACTOR = 10.0  # how much lower or higher the next test is advised to go
LARGEST_LR = 10.0  # a loss that does not fall up to here will not fall above
FAR_BELOW_RISE = 1000.0  # a healthy loss has begun to fall at a rate that is lower than its rise by that

NOT_THE_RATE = (
    "model, optimizer or data are at fault rather than the learning rate: check that the loss fits the "
    "targets, that parameters are trained (requires_grad, frozen groups), and that inputs and targets belong "
    "together"
)
NEVER_FALLS = f"the loss never falls: {NOT_THE_RATE}"
ENDS_EARLY = (
    "the loss has not fallen up to lr {high:.3g}: raise the largest learning rate, such as --max {most:.3g} "
    f"(in Python high={{most:.3g}}). If it still never falls, {NOT_THE_RATE}"
)
RISES_AT_ONCE = (
    "the loss rises without having fallen: begin lower, such as --min {far_below:.3g} (in Python "
    f"low={{far_below:.3g}}). If it still never falls, {NOT_THE_RATE}"
)
LOST_IN_NOISE = (
    "the loss rises from lr {limit:.2g} on, and does not fall before by more than its noise: test with "
    "larger batches, or in more steps and with more seeds, such as --max {beyond:.2g} --steps 1000 "
    "--seeds 10 (in Python high={beyond:.2g}, steps=1000, seeds=10). If it still never falls, "
    f"{NOT_THE_RATE}"
)
NEVER_RISES = (
    "the loss never rises: the largest useful lr may lie higher. Raise the largest learning rate, such as "
    "--max {higher:.3g} (in Python high={higher:.3g})"
)
FALLS_AT_ONCE = (
    "the loss falls from the first step: the smallest useful lr may lie lower. Lower the first learning "
    "rate, such as --min {lower:.3g} (in Python low={lower:.3g})"
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
    """Find the zones in the median of the smoothed curves."""
    curves = smoothed_curves(test)
    descent = find_descent(test, curves)
    return _without_fall(test, curves) if descent is None else _with_fall(test, curves, descent)


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


def _with_fall(test: RangeTest, curves: SmoothedCurves, descent: Descent) -> Zones:
    first, begin, lowest, last = (
        float(curves.lrs[point]) for point in (0, descent.begin, descent.lowest, -1)
    )
    limit = None if descent.risen is None else float(curves.lrs[descent.risen])
    hints = {FALLS_AT_ONCE: not descent.starts_flat, NEVER_RISES: limit is None}
    return Zones(
        too_low=LrInterval(first, begin) if descent.starts_flat else None,
        falling=LrInterval(begin if descent.starts_flat else first, lowest),
        rising=None if limit is None else LrInterval(lowest, last),
        limit=limit,
        hints=tuple(_filled(hint, test.growth) for hint, missing in hints.items() if missing),
    )


def _without_fall(test: RangeTest, curves: SmoothedCurves) -> Zones:
    first, last = float(curves.lrs[0]), float(curves.lrs[-1])
    risen = find_rise(test, curves)
    if risen is None:
        hint = NEVER_FALLS if test.growth.high >= LARGEST_LR else ENDS_EARLY
        return Zones(LrInterval(first, last), None, None, None, (_filled(hint, test.growth),))
    limit = float(curves.lrs[risen])
    hint = RISES_AT_ONCE if limit < FAR_BELOW_RISE * first else LOST_IN_NOISE
    rising = LrInterval(limit, last)
    return Zones(None, None, rising, limit, (_filled(hint, test.growth, limit),))


def _filled(hint: str, growth: Growth, limit: float = math.nan) -> str:
    return hint.format(
        lower=growth.low / HINTED_FACTOR,
        higher=growth.high * HINTED_FACTOR,
        high=growth.high,
        most=LARGEST_LR,
        limit=limit,
        beyond=min(limit * ZOOM_MARGIN, growth.high),
        far_below=limit / FAR_BELOW_RISE,
    )
