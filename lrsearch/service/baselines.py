"""The baselines that a confirmation compares trials with, tuned where fairness asks for it."""

import inspect
from collections.abc import Callable, Generator
from dataclasses import dataclass

from lrsearch.errors import InputError
from lrsearch.lr_range import suggestions
from lrsearch.retrainings import Candidate
from lrsearch.schedules import Hyperparameters
from lrsearch.search import baselines
from lrsearch.service.range_test import RangeTestPlan, find_range, stored_range_test
from lrsearch.service.retraining import RetrainingProgress, Workshop
from lrsearch.service.tuning import LEAST_RUNS, Tuning, runs_of_the_search, tuned
from lrsearch.spec import StudySpec, optimizer_named

VALLEY = "valley"  # a rule of the range test


@dataclass(frozen=True)
class Baseline:
    """A baseline, or why there is none of its kind.

    Args:
        candidate: None where it is left out.
        note: what a reader should know of it; None for nothing.
    """

    candidate: Candidate | None
    note: str | None = None


def recipe(spec: StudySpec) -> Baseline:
    """Return what many people begin with: the tutorial's recipe, or the optimizer's own learning rate.

    Args:
        spec: of the study, resolved.
    """
    if spec.optimizer.name == "SGD":
        return _baseline("the tutorial's recipe", baselines.tutorial_recipe(spec))
    from lrsearch.training.optimizers import (
        optimizer_class,  # here, because it takes a second to import torch
    )

    kind = optimizer_named(spec.optimizer.name)
    lr = inspect.signature(optimizer_class(kind)).parameters["lr"].default
    if not isinstance(lr, int | float):
        return Baseline(None, f"{kind.package} has no default learning rate for {kind.name}")
    maker = "schedulefree's" if kind.is_schedule_free else "PyTorch's"
    return _baseline(f"{maker} default lr {lr:g}, constant", baselines.default_rate(spec, float(lr)))


def tuned_linear_decay(
    workshop: Workshop, stop_requested: Callable[[], bool], *, thoroughly: bool = False
) -> Generator[RetrainingProgress, None, Baseline | None]:
    """Tune the rate of linear decay with as many epochs as one schedule kind got in the study.

    Args:
        workshop: where.
        stop_requested: asked after every epoch.
        thoroughly: whether it gets as many epochs as all kinds had together, as rivals do.

    Returns:
        None if it was stopped.
    """
    spec = workshop.spec
    kinds = len(spec.space.kinds or ("constant",))
    runs = runs_of_the_search(workshop, 1.0 if thoroughly else 1 / kinds)
    tuning = Tuning("linear decay, a baseline", lambda lr: baselines.linear_decay(spec, lr))
    found = yield from tuned(workshop, tuning, runs, stop_requested)
    if found is None:
        return None
    if found.lost:
        return Baseline(None, f"linear decay is left out: at {found.runs} rates it diverged or failed")
    length = "the whole search trained" if thoroughly else "one schedule kind got in the search"
    note = (
        f"linear decay was tuned with {found.runs} runs of {spec.epochs} epochs (as much as {length}, but at "
        f"least {LEAST_RUNS} runs): of these rates, {found.lr:.3g} is best"
    )
    point = baselines.linear_decay(spec, found.lr)
    return _baseline(f"linear decay from a tuned {found.lr:.3g}", point, note)


def one_cycle(workshop: Workshop) -> Baseline:
    """Return one cycle up to the valley of the range test; one that was stored for such a study is taken.

    Args:
        workshop: where.
    """
    spec = workshop.spec
    try:
        test = stored_range_test(workshop.database, spec, workshop.data.steps_per_epoch) or find_range(
            workshop.database, spec, workshop.task, workshop.data, RangeTestPlan()
        )
    except InputError as error:
        return Baseline(None, f"one cycle at the range test's valley is left out: {error}")
    valley = next((rule.lr for rule in suggestions(test).rules if rule.rule == VALLEY), None)
    if valley is None:
        return Baseline(None, "one cycle is left out: the range test found no valley")
    point = baselines.one_cycle(spec, valley, test.settings["optimizer_knobs"])
    return _baseline(f"one cycle up to the range test's {valley:.2g}", point)


def _baseline(name: str, point: Hyperparameters, note: str | None = None) -> Baseline:
    return Baseline(Candidate(name, point.to_point()), note)
