"""The picture of a range test, described once for whatever draws it."""

from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from lrsearch.lr_range import (
    EXPONENTIAL,
    LrInterval,
    RangeTest,
    SmoothedCurves,
    Suggestions,
    Zones,
    find_zones,
    smoothed_curves,
    suggestions,
)
from lrsearch.review.range_test_wording import growth_formula, short

Array = NDArray[np.float64]
Points = tuple[float, ...]

# Of middle lightness, so that they are seen on white and on black; told apart by the colour-blind too.
SEED_COLOR, CURVE_COLOR, CONSENSUS_COLOR = "#8a93a0", "#2f7fd1", "#c2379a"
ZONE_COLORS = {"too low": "#8a93a0", "falling": "#1e9e6a", "rising": "#d9542b"}
RULE_COLORS = ("#e08a00", "#1e9e6a", "#7a6bd6", "#d9542b")
SYMBOLS = ("circle", "square", "diamond", "triangle")

MOST_POINTS = 2000  # of one line: more are slow to draw and not to be told apart
HEADROOM = 0.3  # part of the descent that is shown above the beginning and, a third of it, below the lowest


@dataclass(frozen=True)
class Line:
    """A line of a panel.

    Args:
        label: what the legend says; empty for a line that it leaves out.
        x: values along the x-axis.
        y: values along the y-axis, as many.
        color: as ``#rrggbb``.
        width: in points.
        opacity: in (0, 1].
    """

    label: str
    x: Points
    y: Points
    color: str
    width: float
    opacity: float = 1.0


@dataclass(frozen=True)
class Band:
    """A zone of a panel: all of its height, part of its width."""

    label: str
    low: float
    high: float
    color: str


@dataclass(frozen=True)
class Mark:
    """A suggested rate: a point on the median curve."""

    label: str
    x: float
    y: float
    color: str
    symbol: str


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Args:
        x_label: below the x-axis.
        y_label: beside the y-axis.
        log_x: whether the x-axis is logarithmic.
        log_y: whether the y-axis is logarithmic.
        y_range: lowest and highest value that is shown; what lies above is cut off.
        lines: from the rearmost to the foremost.
        bands: behind the lines.
        marks: before them; one with symbol ``line`` is a vertical line.
    """

    x_label: str
    y_label: str
    log_x: bool
    log_y: bool
    y_range: tuple[float, float]
    lines: tuple[Line, ...]
    bands: tuple[Band, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Picture:
    """A range test's title, a line below it, and its three panels: loss over lr, over step, lr over step."""

    title: str
    subtitle: str
    panels: tuple[Panel, Panel, Panel]


def range_test_picture(test: RangeTest) -> Picture:
    """Describe a range test's picture."""
    zones, suggested, curves = find_zones(test), suggestions(test), smoothed_curves(test)
    optimizer = test.settings.get("optimizer")
    title = f"Learning-rate range test of {test.task}" + (f" with {optimizer}" if optimizer else "")
    panels = (
        _loss_over_lr(test, zones, suggested, curves),
        _loss_over_step(test, zones, suggested, curves),
        _lr_over_step(test, zones, suggested),
    )
    return Picture(title, _subtitle(test, zones, suggested), panels)


def _subtitle(test: RangeTest, zones: Zones, suggested: Suggestions) -> str:
    seeds = "1 seed" if len(test.lanes) == 1 else f"{len(test.lanes)} seeds"
    growth = f"{growth_formula(test.growth)}, {seeds}"
    return (
        growth if suggested.lr is not None else f"{growth}. {zones.hints[0].partition(':')[0].capitalize()}."
    )


def _loss_over_lr(test: RangeTest, zones: Zones, suggested: Suggestions, curves: SmoothedCurves) -> Panel:
    lrs = test.lrs()
    seeds = [(lrs[: len(lane.losses)], np.array(lane.losses)) for lane in test.lanes]
    bands = tuple(
        Band(name, zone.low, zone.high, ZONE_COLORS[name]) for name, zone in _named(zones) if zone is not None
    )
    return Panel(
        x_label="learning rate",
        y_label="training loss",
        log_x=True,
        log_y=False,
        y_range=_y_range(test, curves),
        lines=(*_seed_lines(seeds), _median_line(curves.lrs, curves.median)),
        bands=bands,
        marks=_marks(suggested, curves),
    )


def _loss_over_step(test: RangeTest, zones: Zones, suggested: Suggestions, curves: SmoothedCurves) -> Panel:
    steps = np.arange(1.0, test.steps + 1)
    seeds = [(steps[: len(lane.losses)], np.array(lane.losses)) for lane in test.lanes]
    median = np.interp(np.log(test.lrs()), np.log(curves.lrs), curves.median)
    return Panel(
        x_label="step",
        y_label="training loss",
        log_x=False,
        log_y=False,
        y_range=_y_range(test, curves),
        lines=(*_seed_lines(seeds), _median_line(steps, median)),
        bands=_step_bands(test, zones),
        marks=_step_mark(test, suggested),
    )


def _lr_over_step(test: RangeTest, zones: Zones, suggested: Suggestions) -> Panel:
    lrs, log = test.lrs(), test.growth.kind == EXPONENTIAL
    line = Line("", *_thinned(np.arange(1.0, test.steps + 1), lrs), CURVE_COLOR, 2.5)
    return Panel(
        x_label="step",
        y_label="learning rate",
        log_x=False,
        log_y=log,
        y_range=(float(lrs[0] / 2 if log else 0.0), float(lrs[-1] * (2 if log else 1.05))),
        lines=(line,),
        bands=_step_bands(test, zones),
        marks=_step_mark(test, suggested),
    )


def _named(zones: Zones) -> list[tuple[str, LrInterval | None]]:
    return [("too low", zones.too_low), ("falling", zones.falling), ("rising", zones.rising)]


def _seed_lines(seeds: list[tuple[Array, Array]]) -> tuple[Line, ...]:
    labels = ["each seed", *[""] * len(seeds)]
    return tuple(
        Line(label, *_thinned(x, y), SEED_COLOR, 0.8, 0.55)
        for label, (x, y) in zip(labels, seeds, strict=False)
    )


def _median_line(x: Array, y: Array) -> Line:
    return Line("median, smoothed", *_thinned(x, y), CURVE_COLOR, 2.5)


def _marks(suggested: Suggestions, curves: SmoothedCurves) -> tuple[Mark, ...]:
    """Return a mark on the median curve for each rule, and a vertical line for what they agree on."""
    if suggested.lr is None:
        return ()

    def at(lr: float) -> float:
        return float(np.interp(np.log(lr), np.log(curves.lrs), curves.median))

    rules = [
        Mark(f"{rule.rule}: {short(rule.lr)}", rule.lr, at(rule.lr), color, symbol)
        for rule, color, symbol in zip(suggested.rules, cycle(RULE_COLORS), cycle(SYMBOLS), strict=False)
    ]
    label = f"consensus: {short(suggested.lr)}"
    return (*rules, Mark(label, suggested.lr, at(suggested.lr), CONSENSUS_COLOR, "line"))


def _step_mark(test: RangeTest, suggested: Suggestions) -> tuple[Mark, ...]:
    if suggested.lr is None:
        return ()
    return (Mark("", _step_of(test, suggested.lr), suggested.lr, CONSENSUS_COLOR, "line"),)


def _step_bands(test: RangeTest, zones: Zones) -> tuple[Band, ...]:
    return tuple(
        Band("", _step_of(test, zone.low), _step_of(test, zone.high), ZONE_COLORS[name])
        for name, zone in _named(zones)
        if zone is not None
    )


def _step_of(test: RangeTest, lr: float) -> float:
    """Return at which step the learning rate was reached, from 1."""
    return float(np.interp(lr, test.lrs(), np.arange(1, test.steps + 1)))


def _y_range(test: RangeTest, curves: SmoothedCurves) -> tuple[float, float]:
    """Return the losses that are worth seeing: the explosion at the end would flatten all others."""
    beginning = max(float(curves.median[0]), *(lane.untrained_loss for lane in test.lanes))
    lowest = min(min(lane.losses, default=beginning) for lane in test.lanes)
    height = max(beginning - lowest, 1e-3 * abs(beginning), 1e-12)
    return lowest - HEADROOM / 3 * height, beginning + HEADROOM * height


def _thinned(x: Array, y: Array) -> tuple[Points, Points]:
    """Return a line's points, every so-manieth if there are more than can be told apart."""
    every = max(1, -(-len(x) // MOST_POINTS))
    return tuple(map(float, x[::every])), tuple(map(float, y[::every]))
