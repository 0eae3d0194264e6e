"""Confirms a study: its best trials and baselines, trained on fresh seeds."""

import shlex
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from lrsearch.errors import SpecError
from lrsearch.results import Outcome, TrialRecord
from lrsearch.retrainings import Candidate, Point, same_point
from lrsearch.search.first_trials import first_trials
from lrsearch.service.baselines import Baseline, one_cycle, recipe, tuned_linear_decay
from lrsearch.service.retraining import RetrainingProgress, Workshop
from lrsearch.service.rivals import Rival, check_rivals, tuned_rivals
from lrsearch.spec import StudySpec, hyperparameters
from lrsearch.storage.retrainings import record_confirmation
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records
from lrsearch.training.eager import begin_alike

LEAST_SEEDS = 4  # two that select, and two that report: fewer have no interval


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is confirmed.

    Args:
        top: the best trials that take part, at least 1.
        seeds: fresh seeds, at least 4; the first half of them selects.
        epochs: length of every run; None for the study's.
        rivals: whether optimizers that need no schedule take part.

    Raises:
        SpecError: if a number is too small.
    """

    top: int = 5
    seeds: int = 10
    epochs: int | None = None
    rivals: bool = False

    def __post_init__(self) -> None:
        for name, least in (("top", 1), ("seeds", LEAST_SEEDS), ("epochs", 1)):
            value = getattr(self, name)
            if type(value) is not int and not (name == "epochs" and value is None):
                raise SpecError(f"{name} of a confirmation must be a whole number, but got {value!r}")
            if value is not None and value < least:
                raise SpecError(f"{name} of a confirmation must be at least {least}, but got {value}")


def confirm(
    workshop: Workshop, plan: ConfirmationPlan, stop_requested: Callable[[], bool] = lambda: False
) -> Iterator[RetrainingProgress]:
    """Train candidates on fresh seeds and store the confirmation; what an earlier call has trained is kept.

    Args:
        workshop: where.
        plan: what is confirmed.
        stop_requested: asked after every epoch; true ends it before anything is confirmed.

    Raises:
        SpecError: if no trial of the study is complete, or rivals are wanted that are not installed.
    """
    spec = workshop.spec
    ranked = ranked_trials(workshop)
    if plan.rivals:
        check_rivals(spec)
    linear_decay = yield from tuned_linear_decay(workshop, stop_requested, thoroughly=plan.rivals)
    if linear_decay is None:
        return
    rivals = (yield from tuned_rivals(workshop, stop_requested)) if plan.rivals else []
    if rivals is None:
        return
    found: list[Baseline] = [recipe(spec), linear_decay, one_cycle(workshop)]
    baselines = [each.candidate for each in found if each.candidate is not None]
    # A first trial may be a baseline itself.
    trials = [each for each in ranked if not any(same_point(each.point, other.point) for other in baselines)]
    candidates = [*trials[: plan.top], *baselines]
    seeds, epochs = fresh_seeds(spec, plan.seeds), plan.epochs or spec.epochs or 1
    if epochs != spec.epochs:  # what the search found for them was found in runs of another length
        candidates = [replace(each, search_value=None) for each in candidates]
    alike = begin_alike(workshop.task, (seeds[0], seeds[1]))
    trained = yield from _trained(workshop, candidates, rivals, (seeds, epochs), stop_requested)
    if trained:
        notes = [each.note for each in found if each.note is not None] + [each.note for each in rivals]
        everybody = [*candidates, *(each.candidate for each in rivals if each.candidate is not None)]
        record_confirmation(
            workshop.database, workshop.study_uuid, everybody, seeds, epochs, notes, same_weights=alike
        )


def _trained(
    workshop: Workshop,
    candidates: Sequence[Candidate],
    rivals: Sequence[Rival],
    length: tuple[Sequence[int], int],
    stop_requested: Callable[[], bool],
) -> Generator[RetrainingProgress, None, bool]:
    """Train all on the same seeds, for as many epochs; return whether that came to its end."""
    seeds, epochs = length
    parts: list[tuple[Workshop, Sequence[Candidate], str]] = [
        (workshop, candidates, f"{len(candidates)} candidates"),
        *((each.workshop, [each.candidate], each.candidate.name) for each in rivals if each.candidate),
    ]
    for where, mine, name in parts:
        runs = [each.run(seed, epochs) for seed in seeds for each in mine]
        yield from where.train(runs, f"{name} on {len(seeds)} seeds", stop_requested)
        if where.missing(runs):
            return False
    return True


def fresh_seeds(spec: StudySpec, count: int) -> list[int]:
    """Return seeds that the search has not used: those that follow the study's."""
    return [(spec.seed + 1 + place) % 2**32 for place in range(count)]


def ranked_trials(workshop: Workshop) -> list[Candidate]:
    """Return the complete trials of a study as candidates, the best first; repeated ones once.

    Raises:
        SpecError: if there is none.
    """
    name = workshop.spec.name
    complete = [
        each
        for each in trial_records(workshop.database, find_study(workshop.database, name))
        if each.state == Outcome.COMPLETE.value and each.value is not None and each.reason is None
    ]
    if not complete:
        raise SpecError(
            f"study {name!r} has no complete trial yet, so that there is nothing to confirm; "
            f"see it: lrsearch show {shlex.quote(name)}"
        )
    ranked = sorted(complete, key=lambda each: (each.value or 0.0, each.number))
    recipes = tuple(first_trials(workshop.spec).points.items())
    return [_candidate(workshop.spec, each, recipes) for each in ranked]


def _candidate(spec: StudySpec, record: TrialRecord, recipes: Sequence[tuple[str, Point]]) -> Candidate:
    point = hyperparameters(spec, record.params).to_point()
    recipe = _recipe(record, recipes)
    return Candidate(f"trial {record.number}", point, record.number, record.value, recipe=recipe)


def _recipe(record: TrialRecord, recipes: Sequence[tuple[str, Point]]) -> str | None:
    """Return the name of the recipe that a trial is, or None; the range of lr may have grown meanwhile."""
    if record.number >= len(recipes):  # first trials come first
        return None
    found = _without_lr(record.params)
    return next((name for name, point in recipes if same_point(_without_lr(point), found)), None)


def _without_lr(point: Point) -> Point:
    return {name: value for name, value in point.items() if name != "lr"}
