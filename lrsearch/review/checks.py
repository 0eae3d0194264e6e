"""What makes a result doubtful, each with the command that helps."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.optimizers import optimizer_named
from lrsearch.parameters import Range, Scalar
from lrsearch.results import TrialRecord
from lrsearch.retrainings import Confirmation
from lrsearch.review.advice import how_to_confirm
from lrsearch.review.verdict import Verdict, verdict
from lrsearch.review.winner import found_since
from lrsearch.review.wording import number
from lrsearch.schedules import KINDS, kind_named
from lrsearch.spec import StudySpec, search_space

NEAR_BOUND = 2.0  # factor between a learning rate and the end of its range
AT_BOUND = 0.02  # of a parameter's range
ENOUGH_TRIALS = 10
WIDENING = 4.0  # factor by which a range of lr is advised to grow


def checks(
    spec: StudySpec, trials: Sequence[TrialRecord], confirmation: Confirmation, storage: str | None = None
) -> list[str]:
    """Return what makes a confirmed result doubtful, and the commands that help.

    Args:
        spec: resolved specification of the study.
        trials: all of them.
        confirmation: of the study.
        storage: URL of the database without its password, where commands must name it; else None.
    """
    found = verdict(confirmation)
    winner = found.winner.candidate if found.winner is not None else None
    # A first trial has the values of its recipe, wherever they lie.
    searched = winner.trial if winner is not None and winner.recipe is None else None
    best = next((each for each in trials if each.number == searched), None)
    commands = _Commands(spec, storage)
    return [
        *_same_weights(confirmation),
        *_found_since(spec, trials, found, commands),
        *(_at_bounds(spec, best, commands) if best is not None else ()),
        *_few_trials(spec, trials, commands),
        *_many_diverged(trials, commands),
        *_within_noise(found, commands),
    ]


@dataclass(frozen=True)
class _Commands:
    """Commands about a study that can be pasted into a shell."""

    spec: StudySpec
    storage: str | None

    def __call__(self, verb: str, *options: str) -> str:
        storage = ("--storage", self.storage) if self.storage else ()
        return shlex.join(["lrsearch", verb, self.spec.name, *options, *storage])

    def confirm(self, found: Verdict, seeds: int) -> str | None:
        """Return how to confirm on more seeds, with rivals where the last confirmation had some."""
        rivals = any(each.candidate.is_rival for each in found.standings)
        return how_to_confirm(self.spec, self.storage, seeds=seeds, rivals=rivals)


def _same_weights(confirmation: Confirmation) -> Iterator[str]:
    if confirmation.same_weights:
        yield (
            "under all seeds the model begins with the same weights, so that they differ in the order of "
            "batches alone. Where the weights should be random, single trainings scatter more widely than "
            "here: take torch.manual_seed() out of the function that makes the model, as lrsearch seeds it"
        )


def _found_since(
    spec: StudySpec, trials: Sequence[TrialRecord], found: Verdict, commands: _Commands
) -> Iterator[str]:
    newer = found_since(spec, trials, [each.candidate for each in found.standings])
    if newer is not None:
        yield (
            f"trial {newer.number} has a smaller loss in the search than all that were compared. Confirm "
            f"again: {commands.confirm(found, 2 * _reporting(found))}"
        )


def _reporting(found: Verdict) -> int:
    return max((each.valid_loss.runs for each in found.standings if each.valid_loss), default=5)


def _at_bounds(spec: StudySpec, best: TrialRecord, command: _Commands) -> Iterator[str]:
    for parameter in search_space(spec).searched:
        value, domain = best.params.get(parameter.name), parameter.domain
        if not isinstance(domain, Range) or value is None:
            continue
        if parameter.name == "lr":
            yield from _lr_near_bound(spec, domain, value, command)
        elif _is_at_bound(domain, value, _limits(spec, parameter.name)):
            yield (
                f"{parameter.name} = {number(value)} lies at the end of its range, {domain}: widen it in the "
                "file of another study. The winner as a file to begin with: "
                f"{command('best', '--format', 'toml')}"
            )


def _lr_near_bound(spec: StudySpec, domain: Range, lr: float, command: _Commands) -> Iterator[str]:
    more = f"+{max(ENOUGH_TRIALS, spec.trials // 4)}"
    for option, bound, wider in (
        ("--lr-high", domain.high, domain.high * WIDENING),
        ("--lr-low", domain.low, domain.low / WIDENING),
    ):
        if max(lr / bound, bound / lr) < NEAR_BOUND:
            yield (
                f"the best lr, {number(lr)}, lies near the end of its range, {domain}. Search further: "
                f"{command('extend', option, f'{wider:.2g}', '--trials', more)}"
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


def _few_trials(spec: StudySpec, trials: Sequence[TrialRecord], command: _Commands) -> Iterator[str]:
    complete = sum(each.state == "COMPLETE" for each in trials)
    if complete < ENOUGH_TRIALS:
        missing = max(ENOUGH_TRIALS, spec.trials // 2)
        yield (
            f"only {complete} trial{' was' if complete == 1 else 's were'} trained to the end: more may find "
            f"better ones: {command('extend', '--trials', f'+{missing}')}"
        )


def _many_diverged(trials: Sequence[TrialRecord], command: _Commands) -> Iterator[str]:
    diverged = sum(each.diverged for each in trials)
    if 2 * diverged > len(trials):
        yield (
            f"{diverged} of {len(trials)} trials diverged, so that few were learned from: search smaller "
            f"learning rates in another study. Bounds: {command('range-test')}"
        )


def _within_noise(found: Verdict, commands: _Commands) -> Iterator[str]:
    unclear = [each for each in found.standings[1:] if each.comparison and not each.comparison.is_shown]
    others = [each for each in unclear if each.candidate.trial is None]
    if not others:
        return
    nearest = min(others, key=lambda each: each.comparison.difference.mean if each.comparison else 0.0)
    yield (
        f"the margin to {nearest.candidate.name} is within the noise of the seeds. More seeds see "
        f"smaller differences: {commands.confirm(found, 4 * _reporting(found))}"
    )
