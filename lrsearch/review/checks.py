"""What makes a result doubtful, each with the command that helps."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from lrsearch.optimizers import optimizer_named
from lrsearch.parameters import Range, Scalar
from lrsearch.results import TrialRecord
from lrsearch.review.verdict import Verdict
from lrsearch.review.wording import number
from lrsearch.schedules import KINDS, kind_named
from lrsearch.spec import StudySpec, search_space

NEAR_BOUND = 2.0  # factor between a learning rate and the end of its range
AT_BOUND = 0.02  # of a parameter's range
ENOUGH_TRIALS = 10
WIDENING = 4.0  # factor by which a range of lr is advised to grow


def checks(spec: StudySpec, trials: Sequence[TrialRecord], found: Verdict) -> list[str]:
    """Return what makes a confirmed result doubtful, and the commands that help.

    Args:
        spec: resolved specification of the study.
        trials: all of them.
        found: the verdict of its confirmation.
    """
    winner = found.winner.candidate.trial if found.winner is not None else None
    best = next((each for each in trials if each.number == winner), None)
    return [
        *(_at_bounds(spec, best) if best is not None else ()),
        *_few_trials(spec, trials),
        *_many_diverged(spec, trials),
        *_within_noise(spec, found),
    ]


def _at_bounds(spec: StudySpec, best: TrialRecord) -> Iterator[str]:
    for parameter in search_space(spec).searched:
        value, domain = best.params.get(parameter.name), parameter.domain
        if not isinstance(domain, Range) or value is None:
            continue
        if parameter.name == "lr":
            yield from _lr_near_bound(spec, domain, value)
        elif _is_at_bound(domain, value, _limits(spec, parameter.name)):
            yield (
                f"{parameter.name} = {number(value)} lies at the end of its range, {domain}: widen it in the "
                f"file of another study. The winner as a file to begin with: {_command('best', spec)} "
                "--format toml"
            )


def _lr_near_bound(spec: StudySpec, domain: Range, lr: float) -> Iterator[str]:
    more = f"--trials +{max(ENOUGH_TRIALS, spec.trials // 4)}"
    for option, bound, wider in (
        ("--lr-high", domain.high, domain.high * WIDENING),
        ("--lr-low", domain.low, domain.low / WIDENING),
    ):
        if max(lr / bound, bound / lr) < NEAR_BOUND:
            yield (
                f"the best lr, {number(lr)}, lies near the end of its range, {domain}. Search further: "
                f"{_command('extend', spec)} {option} {wider:.2g} {more}"
            )


def _is_at_bound(domain: Range, value: Scalar, limits: Any) -> bool:
    """Return whether a value lies at an end of its range beyond which there is more."""
    position = domain.position(value)
    if domain.integer:
        at = {domain.low: value == domain.low, domain.high: value == domain.high}
    else:
        at = {domain.low: position < AT_BOUND, domain.high: position > 1 - AT_BOUND}
    natural = {0, getattr(limits, "low", None), getattr(limits, "high", None)}
    return any(lies for end, lies in at.items() if end not in natural)


def _limits(spec: StudySpec, name: str) -> Any:
    """Return the values that a parameter may have at all; None where that is not known."""
    owner, _, knob = name.rpartition(".")
    if owner in KINDS:
        return next(each.limits for each in kind_named(owner).knobs if each.name == knob)
    found = optimizer_named(spec.optimizer.name).knobs.get(name)
    return None if found is None else found.limits


def _few_trials(spec: StudySpec, trials: Sequence[TrialRecord]) -> Iterator[str]:
    complete = sum(each.state == "COMPLETE" for each in trials)
    if complete < ENOUGH_TRIALS:
        missing = max(ENOUGH_TRIALS, spec.trials // 2)
        yield (
            f"only {complete} trial{' was' if complete == 1 else 's were'} trained to the end: more may find "
            f"better ones: {_command('extend', spec)} --trials +{missing}"
        )


def _many_diverged(spec: StudySpec, trials: Sequence[TrialRecord]) -> Iterator[str]:
    diverged = sum(each.diverged for each in trials)
    if 2 * diverged > len(trials):
        yield (
            f"{diverged} of {len(trials)} trials diverged, so that few were learned from: search smaller "
            f"learning rates in another study. Bounds: lrsearch range-test {shlex.quote(spec.name)}"
        )


def _within_noise(spec: StudySpec, found: Verdict) -> Iterator[str]:
    unclear = [each for each in found.standings[1:] if each.comparison and not each.comparison.is_shown]
    baselines = [each for each in unclear if each.candidate.trial is None]
    if not baselines:
        return
    estimate = found.standings[0].valid_loss
    seeds = 4 * estimate.runs if estimate is not None else 20
    yield (
        f"the margin to {baselines[0].candidate.name} is within the noise of the seeds. More seeds see "
        f"smaller differences: {_command('confirm', spec)} --seeds {seeds}"
    )


def _command(verb: str, spec: StudySpec) -> str:
    return f"lrsearch {verb} {shlex.quote(spec.name)}"
