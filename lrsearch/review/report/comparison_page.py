"""Several studies beside each other: groups that differ in seed and name alone, group against group."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch.review.facts import StudyFacts
from lrsearch.review.report.colors import SERIES
from lrsearch.review.report.figure import Absent, Area, Axis, Figure, Line, Mark
from lrsearch.review.report.html import figure_block, paragraph, table
from lrsearch.review.report.losses import loss_axis
from lrsearch.review.report.page import document
from lrsearch.review.report.trials import ShownStudy
from lrsearch.review.report.verdict_section import duration
from lrsearch.review.wording import number

NAME, TITLE = "comparison", "Best value over trials"


@dataclass(frozen=True)
class StudyGroup:
    """Studies that differ in seed and name alone.

    Args:
        label: what tells it from the other groups.
        studies: at least one.
    """

    label: str
    studies: tuple[ShownStudy, ...]

    @property
    def finals(self) -> list[float]:
        """The best value of each study that has one."""
        return [study.best.loss for study in self.studies if study.best is not None]


def comparison_page(facts: Sequence[StudyFacts]) -> str:
    """Return the page that compares studies."""
    groups = study_groups([ShownStudy(each) for each in facts])
    warning = _warning(facts)
    names = f"{len(facts)} studies compared"
    head = f"<p class='over'>lrsearch report</p><h1>{names}</h1>{paragraph(_subtitle(groups), 'subtitle')}"
    body = (
        f'<section id="comparison"><h2>Which search finds the lowest loss</h2>{paragraph(warning, "lead")}'
        f"{_group_table(groups)}{figure_block(comparison(groups))}</section>"
        f'<section id="studies"><h2>The studies</h2>{_study_table(groups)}</section>'
    )
    return document(f"lrsearch: {names}", head, body)


def study_groups(studies: Sequence[ShownStudy]) -> list[StudyGroup]:
    """Return studies in groups that differ in seed and name alone, in the order of their first study."""
    found: dict[str, list[ShownStudy]] = {}
    contents: dict[str, dict[str, Any]] = {}
    for study in studies:
        content = {
            name: value for name, value in _flat(study.spec.identity()) if name not in {"name", "seed"}
        }
        key = repr(sorted(content.items()))
        contents[key] = content
        found.setdefault(key, []).append(study)
    labels = _labels([contents[key] for key in found])
    return [StudyGroup(label, tuple(mine)) for label, mine in zip(labels, found.values(), strict=True)]


def comparison(groups: Sequence[StudyGroup]) -> Figure | Absent:
    """Return the best value over trials: of each group the median and the quartiles over its studies."""
    lines = {group.label: _quartiles(group) for group in groups if group.finals}
    if not lines:
        return Absent(NAME, TITLE, "No study has a trial that was trained to its end.")
    areas: list[Mark] = []
    medians: list[Mark] = []
    for place, group in enumerate(groups):
        if group.label not in lines:
            continue
        x, low, median, high = lines[group.label]
        color, seeds = SERIES[place % len(SERIES)], len(group.studies)
        if seeds > 1:
            areas.append(Area("", x, low, high, color))
        texts = tuple(
            f"{group.label}: {number(value)} after {trials:.0f} trials"
            for trials, value in zip(x, median, strict=True)
        )
        label = f"{group.label} ({seeds} seed{'' if seeds == 1 else 's'})"
        medians.append(Line(label, x, median, color, 2.5, 1.0, texts, steps=True))
    values = [
        value for _x, low, _median, high in lines.values() for value in (*low, *high) if math.isfinite(value)
    ]
    several = any(len(group.studies) > 1 for group in groups)
    note = "Line: median over the studies of a group; area: their quartiles. " if several else ""
    note += "Only complete trials count, in the order in which trials ended."
    x_axis = Axis("trials that have ended", span=(0.0, max(x[-1] for x, *_rest in lines.values()) * 1.02))
    y_axis = loss_axis(values, label="best validation loss so far")
    return Figure(NAME, TITLE, x_axis, y_axis, (*areas, *medians), note, height=460)


def _quartiles(group: StudyGroup) -> tuple[tuple[float, ...], ...]:
    """Return trials, lower quartile, median and upper quartile; up to where the shortest study ends."""
    curves = [study.best_so_far() for study in group.studies if study.best is not None]
    length = min(map(len, curves))
    # Before its first complete trial a study has no value: worse than any.
    values = np.array(
        [[math.inf if math.isnan(value) else value for value in curve[:length]] for curve in curves]
    )
    with np.errstate(invalid="ignore"):  # between two studies without a value there is none
        low, median, high = np.percentile(values, (25, 50, 75), axis=0)
    x = tuple(float(trials) for trials in range(1, length + 1))
    return (
        x,
        *(tuple(float(v) if math.isfinite(v) else math.nan for v in each) for each in (low, median, high)),
    )


def _labels(contents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells each group from the others: the values of all keys that differ."""
    keys = list(dict.fromkeys(key for content in contents for key in content))
    differing = [key for key in keys if len({repr(content.get(key)) for content in contents}) > 1]
    if not differing:
        return ["all"] * len(contents)
    if "sampler" in differing and len({content["sampler"] for content in contents}) == len(contents):
        return [str(content["sampler"]) for content in contents]
    return [", ".join(f"{key} {_word(content.get(key))}" for key in differing) for content in contents]


def _word(value: Any) -> str:
    return "not set" if value is None else number(value) if isinstance(value, float) else str(value)


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _warning(facts: Sequence[StudyFacts]) -> str:
    tasks, epochs = ({each.spec.task for each in facts}, {each.spec.epochs for each in facts})
    if len(tasks) > 1:
        names = ", ".join(sorted(tasks))
        return f"These studies learn different tasks ({names}): their losses cannot be compared."
    if len(epochs) > 1:
        words = " and ".join(map(str, sorted(each or 0 for each in epochs)))
        return f"Their trials train for {words} epochs: a longer one has more time to learn."
    return ""


def _subtitle(groups: Sequence[StudyGroup]) -> str:
    seeds = [len(group.studies) for group in groups]
    each = (
        f"{seeds[0]} seed{'' if seeds[0] == 1 else 's'} each"
        if len(set(seeds)) == 1
        else "with several seeds"
    )
    return f"{len(groups)} group{'' if len(groups) == 1 else 's'}, {each}"


def _group_table(groups: Sequence[StudyGroup]) -> str:
    rows = []
    for group in sorted(
        groups, key=lambda group: float(np.median(group.finals)) if group.finals else math.inf
    ):
        finals = group.finals
        low, median, high = np.percentile(finals, (25, 50, 75)) if finals else (None, None, None)
        span = f"{number(low)} to {number(high)}" if len(finals) > 1 else "-"
        trained = [study.epochs_trained for study in group.studies]
        rows.append(
            (group.label, str(len(group.studies)), number(median), span, f"{np.median(trained):,.0f}")
        )
    head = ("group", "seeds", "best loss, median", "quartiles", "epochs trained, median")
    return table(head, rows, numeric=(1, 2, 3, 4))


def _study_table(groups: Sequence[StudyGroup]) -> str:
    rows = [_study_row(group, study) for group in groups for study in group.studies]
    head = ("study", "group", "seed", "trials", "epochs trained", "time", "best loss", "best trial")
    return table(head, rows, numeric=(2, 3, 4, 5, 6))


def _study_row(group: StudyGroup, study: ShownStudy) -> tuple[str, ...]:
    best = study.best
    return (
        study.spec.name,
        group.label,
        str(study.spec.seed),
        f"{len(study.ended)} of {study.spec.trials}",
        f"{study.epochs_trained:,}",
        duration(study.clock.total_s),
        number(best.loss) if best else "-",
        f"trial {best.number}: {best.words}" if best else "none was trained to its end",
    )
