"""A study as the report shows it: its trials with their hyperparameters, losses and a word for their end."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from textwrap import fill

from lrsearch.results import TrialRecord
from lrsearch.review.facts import StudyFacts
from lrsearch.review.wording import described_parts, number
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import StudySpec, hyperparameters_by_part

BEST_PART = 0.1  # what "the best tenth" means
TEXT_WIDTH = 56


@dataclass(frozen=True)
class ShownTrial:
    """A trial as the report shows it.

    Args:
        record: as it is stored.
        outcome: complete, stopped (by the pruner), diverged, failed or running.
        points: hyperparameters by part; those of a study without parts below None.
        losses: on the validation split, by epoch.
        words: its hyperparameters in one line.
    """

    record: TrialRecord
    outcome: str
    points: Mapping[str | None, Hyperparameters]
    losses: tuple[float, ...]
    words: str

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.record.number

    @cached_property
    def loss(self) -> float:
        """Validation loss after the last epoch that it trained; NaN if there is none, or it diverged."""
        if self.outcome == "diverged":
            return math.nan
        value = self.record.value if self.record.value is not None else math.nan
        last = self.losses[-1] if self.losses else value
        found = value if self.outcome == "complete" else last
        return found if math.isfinite(found) else math.nan

    @cached_property
    def text(self) -> str:
        """What it is, in a few short lines."""
        epochs = f"{self.record.epochs} epoch" + ("" if self.record.epochs == 1 else "s")
        ended = self.outcome if math.isnan(self.loss) else f"{self.outcome}, loss {number(self.loss)}"
        return f"trial {self.number}: {ended} after {epochs}\n{fill(self.words, TEXT_WIDTH)}"


@dataclass(frozen=True)
class ShownStudy:
    """A study as the report shows it.

    Args:
        facts: all that is stored about it.
    """

    facts: StudyFacts

    @property
    def spec(self) -> StudySpec:
        """Its resolved specification."""
        return self.facts.spec

    @property
    def epochs(self) -> int:
        """Epochs of a whole trial."""
        return self.spec.epochs or 1

    @property
    def parts(self) -> tuple[str | None, ...]:
        """Names of the optimizers that are searched side by side; None alone where there is one."""
        return tuple(self.spec.parts or (None,))

    @cached_property
    def trials(self) -> tuple[ShownTrial, ...]:
        """All trials that have begun, by number."""
        return tuple(self._shown(record) for record in self.facts.trials)

    @cached_property
    def ended(self) -> tuple[ShownTrial, ...]:
        """The trials that have ended, in the order of their end."""
        ended = [trial for trial in self.trials if trial.outcome != "running"]
        return tuple(sorted(ended, key=lambda trial: (trial.record.finished_at or "", trial.number)))

    @cached_property
    def ranked(self) -> tuple[ShownTrial, ...]:
        """The complete trials, the best first."""
        complete = [
            trial for trial in self.trials if trial.outcome == "complete" and not math.isnan(trial.loss)
        ]
        return tuple(sorted(complete, key=lambda trial: (trial.loss, trial.number)))

    @property
    def best(self) -> ShownTrial | None:
        """The complete trial with the smallest loss; None if there is none."""
        return self.ranked[0] if self.ranked else None

    @property
    def best_tenth(self) -> tuple[ShownTrial, ...]:
        """The best tenth of all ended trials: the complete ones among them, at least one if there is any."""
        return self.ranked[: max(1, round(BEST_PART * len(self.ended)))]

    @property
    def counts(self) -> Counter[str]:
        """Number of trials by how they ended."""
        return Counter(trial.outcome for trial in self.trials)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Schedule kinds that are searched, in the order of the specification."""
        return tuple(self.spec.space.kinds or ())

    @property
    def epochs_trained(self) -> int:
        """Epochs that all trials trained together."""
        return sum(trial.record.epochs for trial in self.trials)

    @property
    def epochs_saved(self) -> int:
        """Epochs that the pruner saved: what was left of the trials that it stopped."""
        stopped = [trial.record.epochs for trial in self.trials if trial.outcome == "stopped"]
        return sum(max(self.epochs - epochs, 0) for epochs in stopped)

    @cached_property
    def clock(self) -> "StudyClock":
        """Time since the first trial began, pauses between runs left out."""
        return StudyClock.of([trial.record for trial in self.trials])

    def best_so_far(self) -> tuple[float, ...]:
        """Return the smallest loss of a complete trial after each ended one; NaN before the first."""
        best, found = math.nan, []
        for trial in self.ended:
            if trial.outcome == "complete" and not trial.loss >= best:
                best = best if math.isnan(trial.loss) else trial.loss
            found.append(best)
        return tuple(found)

    def _shown(self, record: TrialRecord) -> ShownTrial:
        points = hyperparameters_by_part(self.spec, record.params)
        losses = tuple(epoch.valid_loss for epoch in self.facts.curves.get(record.number, ()))
        words = described_parts(points, self.spec.optimizer.name)
        return ShownTrial(record, _outcome(record), points, losses, words)


@dataclass(frozen=True)
class StudyClock:
    """Time since the first trial of a study began, without the pauses in which none trained.

    Args:
        intervals: begin and end of the times in which trials trained, in unix seconds, one after the other.
    """

    intervals: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, records: list[TrialRecord]) -> "StudyClock":
        """Return the clock of a study's trials."""
        merged: list[list[float]] = []
        times = [(unix_seconds(each.started_at), unix_seconds(each.finished_at)) for each in records]
        for begin, end in sorted(
            (one, other) for one, other in times if one is not None and other is not None
        ):
            if merged and begin <= merged[-1][1] + 1:  # times are stored in whole seconds
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        return cls(tuple((begin, end) for begin, end in merged))

    @property
    def total_s(self) -> float:
        """All time in which trials trained, in seconds."""
        return sum(end - begin for begin, end in self.intervals)

    def at(self, time: str | None) -> float:
        """Return the seconds of training until a time in ISO 8601; NaN if there is none."""
        seconds = unix_seconds(time)
        if seconds is None:
            return math.nan
        return sum(min(max(seconds - begin, 0.0), end - begin) for begin, end in self.intervals)


def unix_seconds(time: str | None) -> float | None:
    """Return a time in ISO 8601 as unix seconds, or None."""
    return None if time is None else datetime.fromisoformat(time).timestamp()


def _outcome(record: TrialRecord) -> str:
    if record.diverged:
        return "diverged"
    return {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed"}.get(record.state, "running")
