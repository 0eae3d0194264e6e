"""A confirmation in words: a table of its candidates, and what follows from it."""

from collections.abc import Sequence

from lrsearch.retrainings import Candidate, Confirmation
from lrsearch.review.verdict import (
    Standing,
    Verdict,
    baseline_as_good,
    interval_text,
    optimism_text,
    p_text,
    verdict,
)
from lrsearch.review.winner import Winner
from lrsearch.review.wording import capital, described
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import StudySpec

LABEL_WIDTH = 10


def standing_table(found: Verdict, confirmation: Confirmation) -> tuple[list[str], list[list[str]]]:
    """Return headings and a row for each candidate, the winner first.

    Args:
        found: the verdict.
        confirmation: what it is of.
    """
    figures = list(dict.fromkeys(name for each in found.standings for name in each.figures))
    headings = ["candidate", "validation loss (95%)", *(f"{name} (95%)" for name in figures)]
    headings += ["above the winner (95%)", "corrected p", "lost runs"]
    return headings, [_row(each, figures, len(confirmation.seeds)) for each in found.by_loss]


def candidate_lines(found: Verdict, spec: StudySpec) -> list[str]:
    """Return each candidate's hyperparameters in a line, behind its name.

    Args:
        found: the verdict.
        spec: resolved specification of the study.
    """
    return [f"{each.candidate.name}: {candidate_words(each.candidate, spec)}" for each in found.by_loss]


def candidate_words(candidate: Candidate, spec: StudySpec) -> str:
    """Return a candidate's hyperparameters in a line, with a rival's optimizer or a first trial's name.

    Args:
        candidate: of a confirmation.
        spec: resolved specification of the study.
    """
    point = Hyperparameters.from_point(candidate.point, spec.frozen)
    words = described(point, candidate.optimizer or spec.optimizer.name)
    if candidate.recipe is not None:
        return f"{words}; a first trial ({candidate.recipe})"
    return f"{candidate.optimizer}, {words}" if candidate.is_rival else words


def confirmation_lines(confirmation: Confirmation, found: Verdict, doubts: Sequence[str]) -> list[str]:
    """Return how a confirmation was made, how far the search was too good, and what makes it doubtful.

    Args:
        confirmation: the confirmation.
        found: its verdict.
        doubts: from ``checks``.
    """
    lines = [
        ("seeds", _seeds(confirmation)),
        *(("baseline", note) for note in confirmation.notes),
        *_optimism(found),
        *_failures(confirmation),
        *(("check", doubt) for doubt in doubts),
    ]
    return [f"{label:<{LABEL_WIDTH}}{text}" for label, text in lines]


def leading_lines(confirmation: Confirmation, leading: Confirmation | None, spec: StudySpec) -> list[str]:
    """Return that ``best`` and ``export`` go by another confirmation, or none; nothing where by this.

    Args:
        confirmation: the newest.
        leading: that by which they go, or None.
        spec: of the study, resolved.
    """
    if leading is None:
        return [f"note      the study's trials have {spec.epochs} epochs: best and export do not go by it"]
    # Their times are whole seconds, which quick ones share.
    if (leading.finished_at, leading.seeds) != (confirmation.finished_at, confirmation.seeds):
        return [f"note      best and export go by the confirmation on {len(leading.seeds)} seeds"]
    return []


def confirmed_lines(found: Winner, confirmation: Confirmation, optimizer: str) -> list[str]:
    """Return a confirmed winner in words: its figures on fresh seeds, and its hyperparameters.

    Args:
        found: the winner.
        confirmation: that it is of.
        optimizer: the study's, whose defaults go unsaid.
    """
    standing, name = found.standing, capital(found.name)
    if standing is None or standing.valid_loss is None:
        figures = "diverged or failed on a fresh seed"
    else:
        others = (f", {name} {interval_text(each)}" for name, each in standing.figures.items())
        figures = f"validation loss {interval_text(standing.valid_loss)}{''.join(others)}"
    seeds = len(confirmation.seeds) - confirmation.selecting
    return [
        f"{name}, confirmed on {seeds} fresh seeds: {figures}",
        f"  {described(found.hyperparameters, optimizer)}",
        verdict(confirmation).sentence,
    ]


def baseline_line(confirmation: Confirmation, best: str) -> str | None:
    """Return how to get the lines of a baseline that is not shown to be worse; None where there is none.

    Args:
        confirmation: of the study.
        best: the command that prints the winner.
    """
    baseline = baseline_as_good(verdict(confirmation))
    if baseline is None:
        return None
    return f"A baseline that is not shown to be worse, {baseline.candidate.name}: {best} --baseline"


def _seeds(confirmation: Confirmation) -> str:
    seeds, selecting = confirmation.seeds, confirmation.selecting
    return (
        f"{seeds[0]} to {seeds[-1]}, none of them the search's; the first {selecting} select, the other "
        f"{len(seeds) - selecting} report; every run had {confirmation.epochs} epochs"
    )


def _row(standing: Standing, figures: Sequence[str], runs: int) -> list[str]:
    found = standing.comparison
    return [
        standing.candidate.name,
        "-" if standing.valid_loss is None else interval_text(standing.valid_loss),
        *(interval_text(standing.figures[name]) if name in standing.figures else "-" for name in figures),
        "" if found is None else interval_text(found.difference),
        "" if found is None else p_text(found.p).removeprefix("p = ").removeprefix("p "),
        f"{standing.lost} of {runs}" if standing.lost else "",
    ]


def _optimism(found: Verdict) -> list[tuple[str, str]]:
    text = optimism_text(found)
    return [] if text is None else [("luck", text)]


def _failures(confirmation: Confirmation) -> list[tuple[str, str]]:
    """Return why runs have failed: of each candidate the first reason."""
    failed = {
        name: next(run for run in runs if run.reason is not None)
        for name, runs in confirmation.runs.items()
        if any(run.reason is not None for run in runs)
    }
    return [("failed", f"{name} on seed {run.seed}: {run.reason}") for name, run in failed.items()]
