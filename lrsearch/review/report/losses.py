"""Figures of losses: over the learning rate, and over the epochs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lrsearch.lr_range import LrInterval, find_zones
from lrsearch.parameters import Choice, Range
from lrsearch.review.report.colors import (
    BEST,
    BOUND,
    GREY,
    INTERVAL,
    OUTCOMES,
    SCALE,
    level,
    level_bounds,
    opacity,
    series_colors,
)
from lrsearch.review.report.figure import Absent, Axis, Band, Figure, Line, Mark, Points, Rule
from lrsearch.review.report.trials import ShownStudy, ShownTrial
from lrsearch.review.wording import number

LOSS = "validation loss"
MOST_CURVES = 1000  # more are slow to draw and not to be told apart
MOST_POINTS = 25_000  # of all curves together
LEAST_RATIO = 2.0  # of losses on a logarithmic axis: on a smaller one there is hardly a round number
MARGIN = 0.06  # part of the losses' range that is left free below and above


def loss_over_lr(study: ShownStudy) -> list[Figure | Absent]:
    """Return the losses over the learning rate, a figure for each part of the study."""
    return [_loss_over_lr(study, part) for part in study.parts]


def curves(study: ShownStudy) -> list[Figure | Absent]:
    """Return the losses over the epochs, coloured by the learning rate of the first part."""
    title, part = "Learning curves", study.parts[0]
    trained = [trial for trial in study.trials if any(map(math.isfinite, trial.losses))]
    if not trained:
        return [Absent("curves", title, "No trial has trained an epoch yet.")]
    shown, note = _thinned(study, trained)
    low, high = _extremes(trial.points[part].lr for trial in shown)
    marks: list[Mark] = []
    for place in sorted({level(trial.points[part].lr, low, high) for trial in shown}):
        mine = [trial for trial in shown if level(trial.points[part].lr, low, high) == place]
        curves = _curves(mine, level_bounds(place, low, high), SCALE[place])
        marks.append(replace(curves, opacity=opacity(curves.opacity, len(shown))))
    marks += _ends(shown, "stopped", Points("stopped here", (), (), GREY, "hollow", 5.0, 0.8))
    # A loss that explodes says nothing of the others: its curve leaves the figure, with a cross at the top.
    calm = [trial for trial in shown if trial.outcome != "diverged"] or shown
    y = loss_axis([loss for trial in calm for loss in trial.losses if math.isfinite(loss)], room_above=0.05)
    crosses = Points("diverged", (), (), OUTCOMES["diverged"], "cross", 6.0, 0.8)
    marks += _ends(shown, "diverged", crosses, top_of(y))
    if study.best in shown:
        marks.append(
            replace(
                _curves([study.best], (low, high), BEST),
                label=f"best of the search: trial {study.best.number}",
                width=2.6,
                opacity=1.0,
            )
        )
    legend = "learning rate" if part is None else f"learning rate of {part}"
    x = Axis("epoch", span=(0.5, study.epochs + 0.5))
    return [Figure("curves", title, x, y, tuple(marks), note, legend, height=460)]


def loss_axis(losses: Sequence[float], *, label: str = LOSS, room_above: float = 0.0) -> Axis:
    """Return an axis for losses: logarithmic, unless one of them is 0 or less, or they are all alike.

    Args:
        losses: finite ones, at least one.
        label: beside the axis.
        room_above: part of the range that is left free above them.
    """
    low, high = min(losses), max(losses)
    if low == high:
        low, high = (low / 2, high * 2) if low > 0 else (low - 1, high + 1)
    if low <= 0 or high / low < LEAST_RATIO:
        height = high - low
        return Axis(label, span=(low - MARGIN * height, high + (MARGIN + room_above) * height))
    ratio = high / low
    return Axis(label, log=True, span=(low / ratio**MARGIN, high * ratio ** (MARGIN + room_above)))


def top_of(axis: Axis) -> float:
    """Return a value just below the upper end of an axis with a span."""
    low, high = axis.span or (0.0, 1.0)
    return high / (high / low) ** 0.03 if axis.log else high - 0.03 * (high - low)


def of_part(name: str, title: str, part: str | None) -> tuple[str, str]:
    """Return name and title of a figure of one part of a study; of one without parts as they are."""
    return (name, title) if part is None else (f"{name}-{part}", f"{title}: {part}")


def _loss_over_lr(study: ShownStudy, part: str | None) -> Figure | Absent:
    name, title = of_part("loss-over-lr", "Loss over learning rate", part)
    ended = [trial for trial in study.ended if trial.outcome != "failed"]
    finite = [trial for trial in ended if not math.isnan(trial.loss)]
    diverged = [trial for trial in ended if trial.outcome == "diverged"]
    if not finite and not diverged:
        return Absent(name, title, "No trial with a loss has ended yet.")
    room = 0.12 if diverged else 0.0
    losses = [trial.loss for trial in finite]
    y = loss_axis(losses, room_above=room) if losses else Axis(LOSS, span=(0.0, 1.0), ticks=False)
    colors, marks = series_colors(study.kinds), []
    faint = opacity(0.75, len(finite))
    for outcome, symbol, seen in (("stopped", "hollow", faint), ("complete", "circle", 0.95)):
        for kind in study.kinds:
            mine = [t for t in finite if t.outcome == outcome and t.points[part].kind == kind]
            marks += _points(mine, part, [t.loss for t in mine], kind, colors[kind], symbol, seen)
    top = [top_of(y)] * len(diverged)
    marks += _points(diverged, part, top, f"diverged ({len(diverged)})", OUTCOMES["diverged"], "cross", 0.9)
    best = study.best
    if best is not None:
        marks += _points([best], part, [best.loss], "best of the search", BEST, "star", 1.0)
    bounds, band = _bounds(study), _interval(study)
    note = "Filled: trained to the end. Hollow: stopped early, at its last loss."
    if diverged:
        note += " Crosses at the top: diverged." if finite else " All that ended have diverged."
    if band:
        note += " Green: where the loss fell in the range test."
    x = Axis("learning rate (peak)", log=True, span=_lr_span(ended, part, bounds))
    return Figure(name, title, x, y, tuple(marks), note, "", band, bounds, height=460)


def _points(
    trials: Sequence[ShownTrial],
    part: str | None,
    losses: Sequence[float],
    label: str,
    color: str,
    symbol: str,
    seen: float,
) -> list[Mark]:
    if not trials:
        return []
    lrs = tuple(trial.points[part].lr for trial in trials)
    texts = tuple(trial.text for trial in trials)
    size = {"star": 15.0, "hollow": 8.0}.get(symbol, 9.0)
    return [Points(label, lrs, tuple(losses), color, symbol, size, seen, texts)]


def _bounds(study: ShownStudy) -> tuple[Rule, ...]:
    lr = study.spec.space.lr
    if isinstance(lr, Range):
        ends = (lr.low, lr.high)
    elif isinstance(lr, Choice):
        ends = _extremes(float(option) for option in lr.options)
    else:
        return (Rule(float(lr), f"lr = {number(float(lr))}", BOUND),)
    words = (f"searched from {number(ends[0])} to {number(ends[1])}", "")
    return tuple(Rule(end, word, BOUND) for end, word in zip(ends, words, strict=True))


def _interval(study: ShownStudy) -> tuple[Band, ...]:
    given, test = study.spec.range_test, study.facts.range_test
    found: LrInterval | None = None
    if given is not None:
        found = LrInterval(given.low, given.high)
    elif test is not None:
        found = find_zones(test).falling
    return () if found is None else (Band("range test", found.low, found.high, INTERVAL),)


def _lr_span(trials: Sequence[ShownTrial], part: str | None, bounds: Sequence[Rule]) -> tuple[float, float]:
    low, high = _extremes([*(trial.points[part].lr for trial in trials), *(rule.at for rule in bounds)])
    ratio = max(high / low, 4.0)
    return low / ratio**MARGIN, high * ratio**MARGIN


def _extremes(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return min(found), max(found)


def _curves(trials: Sequence[ShownTrial], between: tuple[float, float], color: str) -> Line:
    x, y, texts = [], [], []
    for trial in trials:
        for epoch in _shown_epochs(len(trial.losses), MOST_POINTS // len(trials)):
            loss = trial.losses[epoch - 1]
            x.append(float(epoch))
            y.append(loss if math.isfinite(loss) else math.nan)
            texts.append(f"trial {trial.number}, epoch {epoch}: {number(loss)}\n{trial.words[:56]}")
        x.append(math.nan)
        y.append(math.nan)
        texts.append("")
    low, high = (f"{bound:.2g}" for bound in between)
    label = f"{low} to {high}" if low != high else low
    return Line(label, tuple(x), tuple(y), color, 1.3, 0.75, tuple(texts))


def _shown_epochs(epochs: int, most: int) -> list[int]:
    """Return epochs from 1, the first and the last among them, about ``most`` if there are more."""
    every = max(1, -(-epochs // max(most, 2)))
    shown = list(range(1, epochs + 1, every))
    return shown if not shown or shown[-1] == epochs else [*shown, epochs]


def _ends(trials: Sequence[ShownTrial], outcome: str, style: Points, highest: float = math.inf) -> list[Mark]:
    """Return points in a style where the trials that ended in a way have their last finite loss, or below."""
    ends = []
    for trial in trials:
        finite = [(epoch, loss) for epoch, loss in enumerate(trial.losses, 1) if math.isfinite(loss)]
        if trial.outcome == outcome and finite:
            epoch, loss = finite[-1]
            ends.append((trial, epoch, min(loss, highest)))
    if not ends:
        return []
    own, epochs, losses = zip(*ends, strict=True)
    return [replace(style, x=tuple(map(float, epochs)), y=losses, texts=tuple(trial.text for trial in own))]


def _thinned(study: ShownStudy, trials: list[ShownTrial]) -> tuple[list[ShownTrial], str]:
    """Return as many trials as can be drawn, the best among them, and a note that says so."""
    most = max(2, min(MOST_CURVES, MOST_POINTS // 2))
    note = "Each line is a trial; one that was stopped ends where it was stopped."
    if len(trials) > most:
        best = {trial.number for trial in study.ranked[: most // 4]}
        rest = [trial for trial in trials if trial.number not in best]
        every = -(-len(rest) // (most - len(best)))
        kept = best | {trial.number for trial in rest[::every]}
        shown = [trial for trial in trials if trial.number in kept]
        return shown, f"{note} Drawn are {len(shown)} of {len(trials)} trials, the best among them."
    points = sum(len(trial.losses) for trial in trials)
    if points > MOST_POINTS:
        note += f" Of {points:,} epochs only so many are drawn as can be told apart."
    return trials, note
