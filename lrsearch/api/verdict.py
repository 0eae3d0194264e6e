"""What a confirmation from Python gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrsearch.api.configuration import Configuration
from lrsearch.results import TrialRecord
from lrsearch.retrainings import Confirmation
from lrsearch.review.checks import checks
from lrsearch.review.confirmation_wording import (
    candidate_lines,
    confirmation_lines,
    leading_lines,
    standing_table,
)
from lrsearch.review.verdict import Estimate, Standing, baseline_as_good, verdict
from lrsearch.review.wording import described
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import StudySpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Confirmed(Configuration):
    """A candidate of a confirmation, ready to be built.

    Args:
        name: how it is called: ``trial 12``, or what a baseline is.
        valid_loss: on the fresh seeds that report; None where a run of these diverged or failed.
    """

    name: str
    valid_loss: Estimate | None

    def __repr__(self) -> str:
        return f"{self.name}: {described(self.best, self.spec.optimizer.name)}"


@dataclass(frozen=True, repr=False)
class Verdict:
    """What fresh seeds say about a study.

    Args:
        sentence: all of it in plain words.
        winner: the trial or baseline with the smallest loss on the seeds that select; None where each
            diverged or failed.
        baseline: one that is not shown to be worse than a trial that has won; None where there is none.
        text: what ``lrsearch confirm`` prints below the sentence.
        standings: all candidates, the winner first.
    """

    sentence: str
    winner: Confirmed | None
    baseline: Confirmed | None
    text: str
    standings: tuple[Standing, ...]

    @property
    def candidates(self) -> "pd.DataFrame":
        """All candidates, a row each, the winner first; ``above_winner`` and ``p`` compare them with it."""
        import pandas as pd  # here, because it takes half a second

        return pd.DataFrame([_row(each) for each in self.standings]).astype({"trial": "Int64"})

    def __repr__(self) -> str:
        return f"{self.sentence}\n\n{self.text}"


def verdict_of(
    confirmation: Confirmation,
    leading: Confirmation | None,
    spec: StudySpec,
    steps_per_epoch: int,
    records: Sequence[TrialRecord],
    storage: str | None = None,
) -> Verdict:
    """Return what a confirmation says.

    Args:
        confirmation: the confirmation.
        leading: that by which ``best`` and ``export`` go, or None.
        spec: of its study, resolved.
        steps_per_epoch: optimizer updates in an epoch of the search.
        records: all trials of the study.
        storage: URL of the database without its password, where commands must name it; else None.
    """
    found = verdict(confirmation)
    winner, baseline = (
        None if each is None else _confirmed(each, spec, steps_per_epoch)
        for each in (found.winner, baseline_as_good(found))
    )
    lines = [
        *_aligned(*standing_table(found, confirmation)),
        "",
        *candidate_lines(found, spec),
        "",
        *confirmation_lines(confirmation, found, checks(spec, records, confirmation, storage)),
        *leading_lines(confirmation, leading, spec),
    ]
    return Verdict(found.sentence, winner, baseline, "\n".join(lines), found.by_loss)


def _confirmed(standing: Standing, spec: StudySpec, steps_per_epoch: int) -> Confirmed:
    best = Hyperparameters.from_point(standing.candidate.point, spec.frozen)
    return Confirmed(best, spec, steps_per_epoch, standing.candidate.name, standing.valid_loss)


def _row(standing: Standing) -> dict[str, object]:
    loss, compared = standing.valid_loss, standing.comparison
    return {
        "name": standing.candidate.name,
        "trial": standing.candidate.trial,
        "valid_loss": None if loss is None else loss.mean,
        "low": None if loss is None else loss.low,
        "high": None if loss is None else loss.high,
        "above_winner": None if compared is None else compared.difference.mean,
        "p": None if compared is None else compared.p,
        "lost_runs": standing.lost,
        **{name: each.mean for name, each in standing.figures.items()},
    }


def _aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of text, its columns below each other."""
    table = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
