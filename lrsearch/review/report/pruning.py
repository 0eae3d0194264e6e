"""What pruning did: figures of what it stopped when, and what an audit of it found."""

import math
from collections import Counter
from dataclasses import dataclass

from lrsearch.retrainings import Retraining
from lrsearch.review.report.colors import BEST, OUTCOMES, series_colors
from lrsearch.review.report.figure import Absent, Axis, Bars, Figure, Mark, Points, Rule
from lrsearch.review.report.losses import LOSS, loss_axis, top_of
from lrsearch.review.report.trials import ShownStudy, ShownTrial
from lrsearch.review.wording import number

Z = 1.96  # of a 95% interval
TITLE = "What pruning stopped, and when"


@dataclass(frozen=True)
class AuditedTrial:
    """A stopped trial that was trained to its end.

    Args:
        trial: it.
        run: its retraining.
        enters: whether its loss would have been among the best tenth.
    """

    trial: ShownTrial
    run: Retraining
    enters: bool


@dataclass(frozen=True)
class AuditFindings:
    """What an audit found.

    Args:
        threshold: loss of the last trial among the best tenth.
        best: loss of the best complete trial.
        audited: the sampled trials.
        stopped: number of stopped trials by schedule kind.
    """

    threshold: float
    best: float
    audited: tuple[AuditedTrial, ...]
    stopped: Counter[str]

    @property
    def entering(self) -> int:
        """How many would have been among the best tenth."""
        return sum(each.enters for each in self.audited)

    def of_kind(self, kind: str) -> tuple[int, int]:
        """Return how many trials of a kind would have been among the best tenth, and of how many audited."""
        mine = [each for each in self.audited if _kind(each.trial) == kind]
        return sum(each.enters for each in mine), len(mine)

    @property
    def sentence(self) -> str:
        """What was found, in words; with a 95% interval where not all stopped trials were audited."""
        count, sample = self.entering, len(self.audited)
        part = f"{count / sample:.0%}"
        if sample < self.stopped.total():
            low, high = wilson(count, sample)
            part += f", with a 95% interval of {low:.0%} to {high:.0%}"
        lowest = min(each.run.value for each in self.audited)
        beaten = "would have been the best of the study" if lowest < self.best else "beat the best trial"
        return (
            f"Of {sample} stopped trials that were trained to their end, {count} would have been among the "
            f"best tenth (loss below {number(self.threshold)}): {part}. "
            f"{'One' if lowest < self.best else 'None'} of them {beaten}."
        )


def pruning(study: ShownStudy) -> list[Figure | Absent]:
    """Return how many epochs each trial trained, and what its audit found if there was one."""
    figures = [_epochs(study)]
    found = audit_findings(study)
    return figures if found is None else [*figures, _audit(study, found)]


def audit_findings(study: ShownStudy) -> AuditFindings | None:
    """Return what the audit of a study found; None if there was none, or nothing to compare with."""
    audit = study.facts.audit
    known = {trial.number: trial for trial in study.trials}
    if audit is None or not study.best_tenth:
        return None
    threshold = study.best_tenth[-1].loss
    audited = tuple(
        AuditedTrial(known[trial], run, run.value < threshold)
        for trial, run in sorted(audit.runs.items())
        if trial in known and run.reason is None
    )
    stopped = Counter(_kind(known[trial]) for trial in audit.stopped if trial in known)
    return AuditFindings(threshold, study.best_tenth[0].loss, audited, stopped) if audited else None


def wilson(count: int, sample: int) -> tuple[float, float]:
    """Return the 95% interval of a proportion (Wilson 1927).

    Args:
        count: how many have the property.
        sample: of how many, at least 1.
    """
    part, spread = count / sample, Z * Z / sample
    middle = (part + spread / 2) / (1 + spread)
    half = Z * math.sqrt(part * (1 - part) / sample + spread / (4 * sample)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _kind(trial: ShownTrial) -> str:
    return next(iter(trial.points.values())).kind


def _epochs(study: ShownStudy) -> Figure | Absent:
    trained = [trial for trial in study.trials if trial.record.epochs]
    if not trained:
        return Absent("pruning", TITLE, "No trial has trained an epoch yet.")
    marks: list[Mark] = []
    for outcome, color in OUTCOMES.items():
        mine = [trial for trial in trained if trial.outcome == outcome]
        if mine:
            places, lengths = (
                tuple(float(trial.number) for trial in mine),
                tuple(float(trial.record.epochs) for trial in mine),
            )
            zeros, widths = (0.0,) * len(mine), (0.8,) * len(mine)
            texts = tuple(trial.text for trial in mine)
            label = f"{outcome} ({len(mine)})"
            marks.append(Bars(label, places, zeros, lengths, color, widths, upright=True, texts=texts))
    last = max(trial.number for trial in trained)
    x = Axis("trial", span=(-1.0, last + 1.0))
    y = Axis("epochs trained", span=(0.0, study.epochs * 1.04))
    return Figure("pruning", TITLE, x, y, tuple(marks), height=320)


def _audit(study: ShownStudy, found: AuditFindings) -> Figure:
    finite = [
        each for each in found.audited if math.isfinite(each.run.value) and math.isfinite(each.trial.loss)
    ]
    lost = [each for each in found.audited if not math.isfinite(each.run.value)]
    ends = [each.run.value for each in finite]
    y = loss_axis([*ends, found.threshold], label="loss trained to the end", room_above=0.1 if lost else 0.0)
    x = loss_axis([each.trial.loss for each in found.audited if math.isfinite(each.trial.loss)] or [1.0])
    colors, marks = series_colors(study.kinds), []
    for kind in study.kinds:
        for enters, symbol in ((False, "circle"), (True, "star")):
            mine = [each for each in finite if _kind(each.trial) == kind and each.enters is enters]
            if mine:
                texts = tuple(
                    f"{each.trial.text}\ntrained to the end: {number(each.run.value)}" for each in mine
                )
                xs, ys = tuple(e.trial.loss for e in mine), tuple(e.run.value for e in mine)
                size = 15.0 if enters else 10.0
                marks.append(Points(kind, xs, ys, colors[kind], symbol, size, 0.95, texts))
    if lost:
        xs = tuple(each.trial.loss for each in lost)
        texts = tuple(each.trial.text for each in lost)
        top = (top_of(y),) * len(lost)
        marks.append(Points("diverged or failed", xs, top, OUTCOMES["diverged"], "cross", 9.0, 0.9, texts))
    rule = Rule(found.threshold, "best tenth", BEST, upright=False)
    note = "Below the line, marked by a star: trials that would have been among the best tenth."
    title = "Stopped trials, trained to their end"
    x = Axis(f"{LOSS} when it was stopped", x.log, x.span)
    return Figure("audit", title, x, y, tuple(marks), note, rules=(rule,), height=380)
