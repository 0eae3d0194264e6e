"""Parallel coordinates: each trial is a line that crosses an axis for every parameter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrsearch.parameters import Choice, Domain, Range, Scalar
from lrsearch.review.report.colors import GREY, OUTCOMES, opacity, series_colors
from lrsearch.review.report.figure import Absent, Axis, Figure, Label, Line, Mark
from lrsearch.review.report.trials import ShownStudy, ShownTrial
from lrsearch.review.wording import number
from lrsearch.search.space import domain_of
from lrsearch.spec import plain_name, search_space

LOSS = "loss"
MOST_LINES = 1000
HEIGHT = 380
LEAST_TRIALS = 2  # of a kind whose knobs are drawn
DIVERGED_AT = 1.0
LONGEST_WHOLE = 1e7
FINITE_UP_TO = 0.93  # of the axis of losses, where a trial diverged


@dataclass(frozen=True)
class Coordinate:
    """An axis of the figure.

    Args:
        name: canonical name of its parameter.
        label: what stands below it.
        domain: what the parameter may be.
        absent: its value in trials that do not have it; None leaves the line a gap.
    """

    name: str
    label: str
    domain: Domain
    absent: Scalar | None = None

    def position(self, trial: ShownTrial) -> float:
        """Return where a trial crosses the axis, in [0, 1]; NaN if it does not."""
        value = trial.record.params.get(self.name, self.absent)
        if value is None:
            return math.nan
        if isinstance(self.domain, Choice):
            return self.domain.position(value) if self.domain.contains(value) else math.nan
        found = self.domain.position(value)
        return min(max(found, 0.0), 1.0) if math.isfinite(found) else math.nan

    @property
    def ends(self) -> tuple[str, str]:
        """What stands at the lower and the upper end."""
        if isinstance(self.domain, Choice):
            return str(self.domain.options[0]), str(self.domain.options[-1])
        return _end(self.domain.low), _end(self.domain.high)


def parallel(study: ShownStudy) -> list[Figure | Absent]:
    """Return the parameters that all trials share, and the warm-up; the colour tells the kind."""
    title = "All trials in parallel coordinates"
    trials = [trial for trial in study.ended if trial.outcome != "failed"]
    if not any(math.isfinite(trial.loss) for trial in trials):
        return [Absent("parallel", title, "No trial with a finite loss has ended yet.")]
    coordinates = _shared(study)
    if not coordinates:
        return [Absent("parallel", title, "The trials share no searched parameter.")]
    part = study.parts[0]
    groups = {kind: [t for t in trials if t.points[part].kind == kind] for kind in study.kinds}
    note = (
        "Each line is a trial, coloured by its schedule kind; click a kind to hide it. Strong lines are the "
        "best tenth. Axes are the parameters that all trials share; no warm-up counts as 0."
    )
    return [_figure(study, "parallel", title, coordinates, groups, series_colors(study.kinds), note)]


def knobs(study: ShownStudy) -> list[Figure | Absent]:
    """Return the knobs of each schedule kind in parallel coordinates, a figure for each kind and part."""
    figures: list[Figure | Absent] = []
    for part in study.parts:
        for place, kind in enumerate(study.kinds):
            trials = [t for t in study.ended if t.outcome != "failed" and t.points[part].kind == kind]
            own = _knobs(study, part, kind)
            if not own or sum(math.isfinite(trial.loss) for trial in trials) < LEAST_TRIALS:
                continue
            name = f"knobs-{place}" if part is None else f"knobs-{part}-{place}"
            title = f"Knobs of {kind}" + ("" if part is None else f": {part}")
            groups = {
                "stopped": [trial for trial in trials if trial.outcome == "stopped"],
                "complete": [trial for trial in trials if trial.outcome == "complete"],
                "diverged": [trial for trial in trials if trial.outcome == "diverged"],
            }
            coordinates = [*_lrs(study, part), *own]
            figures.append(_figure(study, name, title, coordinates, groups, OUTCOMES, ""))
    reason = "No schedule kind with searched knobs of its own has two trials with a loss yet."
    return figures or [Absent("knobs", "Knobs of each schedule kind", reason)]


def _shared(study: ShownStudy) -> list[Coordinate]:
    found = []
    for parameter in search_space(study.spec).searched:
        plain = plain_name(study.spec, parameter.name)
        if plain == "kind" or (parameter.condition is not None and plain != "warmup_fraction"):
            continue
        domain, absent = domain_of(parameter), None
        if plain == "warmup_fraction" and isinstance(domain, Range):
            domain, absent = Range(0.0, domain.high), 0.0
        found.append(Coordinate(parameter.name, _short(parameter.name), domain, absent))
    return found


def _knobs(study: ShownStudy, part: str | None, kind: str) -> list[Coordinate]:
    prefix = f"{kind}." if part is None else f"{part}/{kind}."
    return [
        Coordinate(each.name, each.name.removeprefix(prefix), domain_of(each))
        for each in search_space(study.spec).searched
        if each.name.startswith(prefix)
    ]


def _lrs(study: ShownStudy, part: str | None) -> list[Coordinate]:
    name = "lr" if part is None else f"{part}/lr"
    return [
        Coordinate(name, "lr", domain_of(each))
        for each in search_space(study.spec).searched
        if each.name == name
    ]


def _end(value: float) -> str:
    """Return a bound: as a whole number where it is one that is not too long."""
    return f"{value:.0f}" if value == round(value) and abs(value) < LONGEST_WHOLE else number(value)


def _short(name: str) -> str:
    return name.replace("warmup_fraction", "warm-up")


def _figure(
    study: ShownStudy,
    name: str,
    title: str,
    coordinates: Sequence[Coordinate],
    groups: dict[str, list[ShownTrial]],
    colors: dict[str, str],
    note: str,
) -> Figure:
    everyone = [trial for group in groups.values() for trial in group]
    scale = _LossScale.of(everyone)
    best = {trial.number for trial in study.best_tenth}
    every = -(-len(everyone) // MOST_LINES)
    marks: list[Mark] = []
    for label, group in groups.items():
        rest = [trial for trial in group if trial.number not in best][::every]
        seen = opacity(0.45, len(everyone))
        marks += _line(rest, coordinates, scale, Line(label, (), (), colors[label], 1.1, seen))
    for label, group in groups.items():
        strong = [trial for trial in group if trial.number in best]
        marks += _line(strong, coordinates, scale, Line(label, (), (), colors[label], 2.6, 0.95))
    if every > 1:
        note += f" Of {len(everyone)} trials one in {every} is drawn, and all of the best tenth."
    last = len(coordinates)
    axes = tuple(Line("", (float(at),) * 2, (0.0, 1.0), GREY, 1.5) for at in range(last + 1))
    names = (*(coordinate.label for coordinate in coordinates), LOSS)
    x = Axis("", span=(-0.35, last + 0.35), names=names)
    y = Axis("", span=(-0.1, 1.1), ticks=False)
    labels = _labels(coordinates, scale)
    return Figure(name, title, x, y, (*axes, *marks), note.strip(), labels=labels, height=HEIGHT)


def _line(
    trials: Sequence[ShownTrial], coordinates: Sequence[Coordinate], scale: "_LossScale", style: Line
) -> list[Mark]:
    """Return a line in a style through the axes for each trial, none where there is no trial."""
    if not trials:
        return []
    x: list[float] = []
    y: list[float] = []
    texts: list[str] = []
    for trial in trials:
        x += [*map(float, range(len(coordinates) + 1)), math.nan]
        y += [*(coordinate.position(trial) for coordinate in coordinates), scale.position(trial), math.nan]
        texts += [trial.text] * (len(coordinates) + 1) + [""]
    return [replace(style, x=tuple(x), y=tuple(y), texts=tuple(texts))]


def _labels(coordinates: Sequence[Coordinate], scale: "_LossScale") -> tuple[Label, ...]:
    labels = []
    for place, (low, high) in enumerate([*(coordinate.ends for coordinate in coordinates), scale.ends]):
        labels += [Label(float(place), 0.0, low, above=False), Label(float(place), 1.0, high, above=True)]
    return tuple(labels)


@dataclass(frozen=True)
class _LossScale:
    """The axis of losses: logarithmic, unless one is 0 or less; diverged trials lie at its upper end."""

    low: float
    high: float
    diverged: bool

    @classmethod
    def of(cls, trials: Sequence[ShownTrial]) -> "_LossScale":
        losses = [trial.loss for trial in trials if math.isfinite(trial.loss)]
        return cls(min(losses), max(losses), any(trial.outcome == "diverged" for trial in trials))

    @property
    def ends(self) -> tuple[str, str]:
        return number(self.low), "diverged" if self.diverged else number(self.high)

    def position(self, trial: ShownTrial) -> float:
        if trial.outcome == "diverged":
            return DIVERGED_AT
        if not math.isfinite(trial.loss):
            return math.nan
        if self.low >= self.high:
            return 0.0
        if self.low > 0:
            part = math.log(trial.loss / self.low) / math.log(self.high / self.low)
        else:
            part = (trial.loss - self.low) / (self.high - self.low)
        return part * (FINITE_UP_TO if self.diverged else 1.0)
