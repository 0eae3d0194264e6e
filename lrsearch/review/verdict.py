"""What a confirmation says: means with intervals, differences paired by seed, and one plain sentence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lrsearch.retrainings import Candidate, Confirmation
from lrsearch.review.wording import capital, number

LEVEL = 0.95  # of all intervals
ALPHA = 0.05  # below it, corrected for all comparisons, a difference counts as shown


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval by Student's t distribution.

    Args:
        mean: over the runs.
        low: lower end of the 95% interval; the mean itself where there is one run.
        high: its upper end.
        runs: number of runs.
    """

    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the winner, paired by seed.

    Args:
        difference: of the candidate's validation loss minus the winner's.
        p: two-sided, by a paired t test, corrected by Holm's method for all comparisons of the confirmation.
    """

    difference: Estimate
    p: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is more than chance explains."""
        return self.p < ALPHA


@dataclass(frozen=True)
class Standing:
    """How a candidate did.

    Args:
        candidate: who.
        selection: mean validation loss on the seeds that select; ``inf`` where a run diverged or failed.
        valid_loss: on the seeds that report; None where a run of these diverged or failed.
        test: figures on the test split by name, on the seeds that report; empty where there are none.
        metrics: further validation figures by name, likewise.
        lost: runs, on any seed, that diverged or failed.
        comparison: with the winner; None for the winner, or where one of both has lost a reporting run.
    """

    candidate: Candidate
    selection: float
    valid_loss: Estimate | None
    test: Mapping[str, Estimate]
    lost: int
    comparison: Comparison | None = None
    metrics: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Estimate]:
        """What stands beside the validation loss, by name: figures of the test split, else the metrics."""
        if self.test:
            return {f"test {name}": each for name, each in self.test.items()}
        return {name.replace("valid_", "validation "): each for name, each in self.metrics.items()}


@dataclass(frozen=True)
class Verdict:
    """What a confirmation says.

    Args:
        standings: of all candidates: the winner, then the others, the best on the selecting seeds first.
        optimism: by how much the winner's validation loss on fresh seeds exceeds what the search had found;
            None where the winner is a baseline or has lost a reporting run.
        sentence: all of it in plain words.
    """

    standings: tuple[Standing, ...]
    optimism: Estimate | None
    sentence: str

    @property
    def by_loss(self) -> tuple[Standing, ...]:
        """The winner, then the others, the smallest reported loss first, those that lost a run last."""
        winner, *others = self.standings
        others.sort(key=lambda each: each.valid_loss.mean if each.valid_loss else math.inf)
        return (winner, *others)

    @property
    def winner(self) -> Standing | None:
        """The trial or baseline with the smallest loss on the selecting seeds; None where all were lost."""
        first = self.standings[0]
        return first if math.isfinite(first.selection) else None


def verdict(confirmation: Confirmation) -> Verdict:
    """Return what a confirmation says.

    Differences are the candidate's loss minus the winner's, seed by seed; their p-values come from a paired t
    test and are corrected by Holm's step-down method (Holm 1979). A rival is compared but never the
    winner, as it has another optimizer than the study.
    """
    standings = sorted((_standing(each, confirmation) for each in confirmation.candidates), key=_order)
    winner = min((each for each in standings if not each.candidate.is_rival), key=_order)
    standings = [winner, *(each for each in standings if each is not winner)]
    if not math.isfinite(winner.selection):
        return Verdict(tuple(standings), None, _all_lost(standings, confirmation))
    compared = _compared(standings, confirmation)
    optimism = _optimism(winner, confirmation)
    return Verdict(compared, optimism, _sentence(compared, confirmation))


def better_rivals(found: Verdict) -> list[Standing]:
    """Return the rivals that have lost no run and are shown to be better than the winner."""
    rivals = [each for each in found.standings if each.candidate.is_rival and not each.lost]
    return [each for each in rivals if _is_better(each)]


def nearest_baseline(found: Verdict) -> Standing | None:
    """Return the winner if it is a baseline, else the one that its sentence names, or None.

    Of those that lost no run: shown to be better goes before not shown to be worse, and that before the rest.
    """
    if found.winner is not None and found.winner.candidate.is_baseline:
        return found.winner
    whole = [each for each in found.standings if each.candidate.is_baseline and not each.lost]
    better = [each for each in whole if _is_better(each)]
    alike = [each for each in whole if each.comparison is not None and not _is_worse(each)]
    nearest = better or alike or whole
    return min(nearest, key=lambda each: each.valid_loss.mean if each.valid_loss else math.inf, default=None)


def baseline_as_good(found: Verdict) -> Standing | None:
    """Return the baseline that is not shown to differ from a trial that has won, or None."""
    nearest = nearest_baseline(found)
    compared = None if nearest is None else nearest.comparison
    return None if compared is None or compared.is_shown else nearest


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of values with its interval by Student's t distribution.

    Args:
        values: at least one, all finite.
    """
    from scipy.stats import t  # here, because it takes half a second

    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, mean, mean, 1)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Estimate(mean, mean - half, mean + half, len(values))


def paired_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of a paired t test.

    Args:
        differences: at least two, all finite.
    """
    from scipy.stats import t  # here, because it takes half a second

    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    mean = float(np.mean(differences))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * t.sf(abs(mean) / error, len(differences) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in their order."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def p_text(p: float) -> str:
    """Return a p-value as it is written, such as ``p = 0.013`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def interval_text(found: Estimate) -> str:
    """Return an estimate with its interval, such as ``0.0801 (0.079 to 0.0812)``."""
    return f"{number(found.mean)} ({number(found.low)} to {number(found.high)})"


def optimism_text(found: Verdict) -> str | None:
    """Return by how much the search was too good about the winner; None where that is not known."""
    if found.optimism is None or found.winner is None:
        return None
    candidate, more = found.winner.candidate, found.optimism
    low, high = sorted((more.low, more.high)) if more.mean >= 0 else sorted((-more.low, -more.high))
    return (
        f"the search had found {number(candidate.search_value)} for {candidate.name}; on fresh seeds its "
        f"loss is {number(abs(more.mean))} {'higher' if more.mean >= 0 else 'lower'} "
        f"(95%: {number(low)} to {number(high)})"
    )


def _standing(candidate: Candidate, confirmation: Confirmation) -> Standing:
    runs = confirmation.runs[candidate.name]
    selecting, reporting = runs[: confirmation.selecting], runs[confirmation.selecting :]
    reported = [run.value for run in reporting]
    whole = all(map(math.isfinite, reported))
    return Standing(
        candidate=candidate,
        selection=float(np.mean([run.value for run in selecting])),
        valid_loss=estimate(reported) if whole else None,
        test=_estimates([run.test for run in reporting]) if whole else {},
        metrics=_estimates([run.metrics for run in reporting]) if whole else {},
        lost=sum(not math.isfinite(run.value) for run in runs),
    )


def _estimates(figures: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Return the estimates of what all runs have, where it is finite."""
    names = [name for name in figures[0] if all(math.isfinite(each.get(name, math.nan)) for each in figures)]
    return {name: estimate([each[name] for each in figures]) for name in names}


def _order(standing: Standing) -> float:
    return standing.selection


def _compared(standings: Sequence[Standing], confirmation: Confirmation) -> tuple[Standing, ...]:
    """Return standings with their comparisons with the first one."""
    winner = standings[0]
    others = [each for each in standings[1:] if each.valid_loss and winner.valid_loss]
    differences = {each.candidate.name: _differences(each, winner, confirmation) for each in others}
    corrected = holm([paired_p(values) for values in differences.values()])
    comparisons = {
        name: Comparison(estimate(values), p)
        for (name, values), p in zip(differences.items(), corrected, strict=True)
    }
    return tuple(replace(each, comparison=comparisons.get(each.candidate.name)) for each in standings)


def _differences(standing: Standing, winner: Standing, confirmation: Confirmation) -> list[float]:
    theirs, its = (
        confirmation.runs[each.candidate.name][confirmation.selecting :] for each in (standing, winner)
    )
    return [one.value - other.value for one, other in zip(theirs, its, strict=True)]


def _optimism(winner: Standing, confirmation: Confirmation) -> Estimate | None:
    found = winner.candidate.search_value
    if found is None or winner.valid_loss is None:
        return None
    reporting = confirmation.runs[winner.candidate.name][confirmation.selecting :]
    return estimate([run.value - found for run in reporting])


# Words


def _all_lost(standings: Sequence[Standing], confirmation: Confirmation) -> str:
    rivals = [each for each in standings if each.candidate.is_rival]
    said = (
        f"Nothing can be recommended: on {confirmation.selecting} fresh seeds each of the "
        f"{len(standings) - len(rivals)} candidates diverged or failed at least once."
    )
    return f"{said} {_sentence_of_lone_rivals(rivals)}" if rivals else said


def _sentence(standings: Sequence[Standing], confirmation: Confirmation) -> str:
    rivals = [each for each in standings if each.candidate.is_rival]
    said = _sentence_of_winner([each for each in standings if each not in rivals], confirmation)
    if not rivals:
        return said
    compared = standings[0].valid_loss is not None
    return f"{said} {(_sentence_of_rivals if compared else _sentence_of_lone_rivals)(rivals)}"


def _sentence_of_rivals(rivals: Sequence[Standing]) -> str:
    """Return how optimizers that need no schedule compare with the winner."""
    compared = [each for each in rivals if each.comparison is not None and not each.lost]
    if not compared:
        return _sentence_of_lone_rivals(rivals)
    better = [each for each in compared if _is_better(each)]
    alike = [each for each in compared if not _is_worse(each)]
    best = _nearest(better or alike or compared)
    rest = [each for each in rivals if each not in compared]
    lost = f"; {_names(rest)} diverged or failed at least once" if rest else ""
    found = f"{best.candidate.name}, is {_difference(best)}"
    if _is_better(best):
        return f"An optimizer that needs no schedule is shown to be better: the best, {found}{lost}."
    if _is_worse(best):
        return f"Optimizers that need no schedule do worse: the nearest, {found}{lost}."
    return f"No difference is shown to an optimizer that needs no schedule: the nearest, {found}{lost}."


def _sentence_of_lone_rivals(rivals: Sequence[Standing]) -> str:
    """Return how optimizers that need no schedule did where there is nothing to compare them with."""
    whole = [(each, each.valid_loss) for each in rivals if each.valid_loss is not None and not each.lost]
    if not whole:
        return f"The optimizers that need no schedule, {_names(rivals)}, diverged or failed at least once."
    losses = " and ".join(
        f"{each.candidate.name} has a loss of {interval_text(loss)}" for each, loss in whole
    )
    return f"Of the optimizers that need no schedule, {losses}."


def _sentence_of_winner(standings: Sequence[Standing], confirmation: Confirmation) -> str:
    winner, seeds = standings[0], len(confirmation.seeds) - confirmation.selecting
    if winner.valid_loss is None:
        return (
            f"{capital(winner.candidate.title)} was best on the seeds that select, but diverged or failed "
            "on one that reports: a smaller learning rate would be safer."
        )
    says = (
        f"On {seeds} fresh seeds that did not select it, its validation loss is "
        f"{interval_text(winner.valid_loss)}"
    )
    if winner.candidate.trial is None:
        return _sentence_of_baseline(standings, says)
    baselines = [each for each in standings[1:] if each.candidate.is_baseline]
    if not baselines:
        return f"Use {winner.candidate.title}. {says}. There was no baseline to compare it with."
    better = [each for each in baselines if _is_better(each) and not each.lost]
    if better:
        return _sentence_of_better(winner, better, says)
    unlike = [each for each in baselines if each.comparison is None or each.lost or _is_worse(each)]
    alike = [each for each in baselines if each not in unlike]
    if alike:
        return _sentence_without_difference(winner, alike, says)
    return f"Use {winner.candidate.title}. {says}, lower than that of {_all_baselines(unlike)}."


def _is_worse(standing: Standing) -> bool:
    found = standing.comparison
    return found is not None and found.is_shown and found.difference.mean > 0


def _is_better(standing: Standing) -> bool:
    found = standing.comparison
    return found is not None and found.is_shown and found.difference.mean < 0


def _sentence_of_better(winner: Standing, better: Sequence[Standing], says: str) -> str:
    """Return the sentence for a winner that others beat where it was not selected."""
    best = _nearest(better)
    return (
        f"{capital(winner.candidate.title)} was best on the seeds that select it, but {best.candidate.name} "
        f"is shown to be better. {says}; that of {best.candidate.name} is {_difference(best)}. Confirm again "
        "with more seeds before you use either."
    )


def _sentence_of_baseline(standings: Sequence[Standing], says: str) -> str:
    winner = standings[0]
    trials = [each for each in standings[1:] if each.candidate.trial is not None]
    start = f"The search found nothing better than a baseline: use {winner.candidate.name}. {says}"
    if not trials:
        return f"{start}; no other trial of the study is complete."
    best = next((each for each in trials if each.comparison is not None), None)
    if best is None or best.comparison is None:
        return f"{start}; every trial diverged or failed on one of them."
    if _is_better(best):
        return _sentence_of_better(winner, [best], says)
    if _is_worse(best):
        return f"{start}; the best trial, {best.candidate.title}, is {_difference(best)}."
    return (
        f"{start}; no difference is shown to the best trial, {best.candidate.title}, which is "
        f"{_difference(best)}."
    )


def _sentence_without_difference(winner: Standing, alike: Sequence[Standing], says: str) -> str:
    nearest = _nearest(alike)
    found = nearest.comparison.difference if nearest.comparison else Estimate(0.0, 0.0, 0.0, 0)
    # An interval is that of one comparison, and may leave out zero where the p-value of many does not.
    chance = "chance, with so many compared," if found.low * found.high > 0 else "chance"
    or_better = " or better" if found.mean < 0 else ""
    return (
        f"No difference shown: {winner.candidate.title} was best on the seeds that select it. {says}; that "
        f"of {nearest.candidate.name} is {_difference(nearest)}, which {chance} may explain: the baseline "
        f"may do as well{or_better}, and only more seeds decide."
    )


def _all_baselines(baselines: Sequence[Standing]) -> str:
    compared = [each for each in baselines if each.comparison is not None and not each.lost]
    lost = [each for each in baselines if each not in compared]
    if not compared:
        return f"every baseline: {_names(lost)} diverged or failed"
    nearest = _nearest(compared)
    rest = f"; {_names(lost)} diverged or failed" if lost else ""
    words = "every baseline" if len(baselines) > 1 else "the baseline"
    return f"{words}; the nearest, {nearest.candidate.name}, is {_difference(nearest)}{rest}"


def _nearest(standings: Sequence[Standing]) -> Standing:
    """Return the one with the smallest loss, compared with the winner."""
    return min(standings, key=lambda each: each.comparison.difference.mean if each.comparison else math.inf)


def _difference(standing: Standing) -> str:
    found = standing.comparison
    if found is None:
        raise ValueError(f"{standing.candidate.name} was not compared")
    sign, direction = (1, "higher") if found.difference.mean >= 0 else (-1, "lower")
    low, high = sorted((sign * found.difference.low, sign * found.difference.high))
    span = f"95%: {number(low)} to {number(high)}"
    return f"{number(abs(found.difference.mean))} {direction} ({span}; corrected {p_text(found.p)})"


def _names(standings: Sequence[Standing]) -> str:
    return " and ".join(each.candidate.name for each in standings)
