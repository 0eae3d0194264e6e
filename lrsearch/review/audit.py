"""What an audit says of a study's pruning: which stopped trials would have been among the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch.results import TrialRecord
from lrsearch.retrainings import Audit
from lrsearch.spec import StudySpec, hyperparameters

TOP_SHARE = 0.1


@dataclass(frozen=True)
class AuditRow:
    """The stopped trials of one schedule kind.

    Args:
        kind: name of the kind; None stands for all of them.
        stopped: how many the pruner had stopped.
        sampled: how many of these were trained to their end.
        best: how many of the sampled ones would have been among the best tenth.
    """

    kind: str | None
    stopped: int
    sampled: int
    best: int


@dataclass(frozen=True)
class AuditTable:
    """What an audit says.

    Args:
        rows: of every schedule kind with a stopped trial, then of all.
        places: how many trials the best tenth is.
        limit: the loss that a trial must be below to be one of them; ``inf`` with fewer complete trials.
        lowest: the smallest loss of the sampled trials; ``inf`` where all diverged.
        best_value: the smallest loss of the complete trials.
    """

    rows: tuple[AuditRow, ...]
    places: int
    limit: float
    lowest: float
    best_value: float


def audit_table(spec: StudySpec, trials: Sequence[TrialRecord], audit: Audit) -> AuditTable:
    """Return how many of the sampled trials would have been among the best tenth, by schedule kind.

    A stopped trial would have been one of them if, trained to its end, fewer complete trials of the study are
    better than the best tenth has places. The best tenth is that of all trials that did not fail.

    Args:
        spec: resolved specification of the study.
        trials: all of them.
        audit: of the study.
    """
    values = sorted(each.value for each in trials if each.state == "COMPLETE" and each.value is not None)
    places = max(1, round(TOP_SHARE * sum(each.state in {"COMPLETE", "PRUNED"} for each in trials)))
    limit = values[places - 1] if len(values) >= places else math.inf
    kinds = {
        each.number: hyperparameters(spec, each.params).kind
        for each in trials
        if each.number in set(audit.stopped)
    }
    found = {number: run.value for number, run in audit.runs.items()}
    rows = [
        _row(kind, {n for n, each in kinds.items() if each == kind}, found, limit) for kind in _known(kinds)
    ]
    return AuditTable(
        rows=(*rows, _row(None, set(kinds), found, limit)),
        places=places,
        limit=limit,
        lowest=min(found.values(), default=math.inf),
        best_value=values[0] if values else math.inf,
    )


def audit_sentence(table: AuditTable) -> str:
    """Return what an audit says in plain words."""
    every = table.rows[-1]
    would = f"{every.best} of them would have been among the best {table.places}"
    if math.isfinite(table.best_value):
        would += ", and one the best" if table.lowest < table.best_value else ", and none the best"
    return f"{every.sampled} of {every.stopped} stopped trials were trained to their end: {would}."


def _known(kinds: dict[int, str]) -> list[str]:
    return sorted(set(kinds.values()))


def _row(kind: str | None, stopped: set[int], found: dict[int, float], limit: float) -> AuditRow:
    mine = [value for number, value in found.items() if number in stopped]
    return AuditRow(kind, len(stopped), len(mine), sum(value < limit for value in mine))
