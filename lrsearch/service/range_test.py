"""Range tests of a task, stored, and what a study makes of one."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

from lrsearch.errors import InputError, SpecError
from lrsearch.lr_range import (
    EXPONENTIAL,
    Growth,
    RangeTest,
    find_zones,
    search_bounds,
    suggestions,
    zoomed,
)
from lrsearch.parameters import Range
from lrsearch.service.optimize import middle
from lrsearch.service.studies import stored_spec
from lrsearch.spec import RangeTestSpec, StudySpec, optimizer_named
from lrsearch.storage.database import Database
from lrsearch.storage.range_tests import list_range_tests, record_range_test
from lrsearch.storage.studies import find_study
from lrsearch.tasks.task import Task
from lrsearch.training.data import TrainingData
from lrsearch.training.range_test import RangeTestStep, run_range_test

STEPS = 200


@dataclass(frozen=True)
class RangeTestPlan:
    """How a range test is run.

    Args:
        growth: ``"exponential"`` or ``"linear"``.
        low: learning rate of the first update, above 0.
        high: learning rate after the last update, above ``low``.
        steps: updates; None is ``epochs``, or 200 if that is None too.
        epochs: passes over the training split, instead of ``steps``.
        seeds: lanes, each with initial weights and batch order of its own.
        zoom: whether the falling zone is tested again, more slowly.

    Raises:
        SpecError: if both steps and epochs are given, or a count is below 1.
    """

    growth: str = EXPONENTIAL
    low: float = 1e-6
    high: float = 10.0
    steps: int | None = None
    epochs: int | None = None
    seeds: int = 3
    zoom: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise SpecError(f"give --steps or --epochs, not both: got {self.steps} and {self.epochs}")
        for name in ("epochs", "seeds"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise SpecError(f"--{name} of a range test must be at least 1, but got {count}")

    def growth_over(self, steps_per_epoch: int) -> Growth:
        """Return how the learning rate grows, for epochs of so many updates."""
        steps = self.steps
        if steps is None:
            steps = STEPS if self.epochs is None else self.epochs * steps_per_epoch
        return Growth(self.growth, self.low, self.high, steps)


def run(
    database: Database, spec: StudySpec, task: Task, data: TrainingData, plan: RangeTestPlan
) -> Iterator[RangeTestStep | RangeTest]:
    """Run and store a range test with a study's optimizer, groups, batch size and device.

    Args:
        database: where it is stored.
        spec: resolved; of what it searches, the optimizer's knobs and groups are taken at the middle.
        task: what is learned.
        data: the task's, from ``load_onto_device``.
        plan: how the learning rate grows.

    Yields:
        each step; the last item is the test, with ``zoom`` the slower one.

    Raises:
        InputError: if the optimizer does not follow a growing learning rate, or ``zoom`` finds no fall.
    """
    _check_follows(spec.optimizer.name)
    point = replace(middle(spec), kind="constant", knobs={}, warmup_fraction=0.0)
    seeds = range(spec.seed, spec.seed + plan.seeds)
    growth = plan.growth_over(data.steps_per_epoch)
    test = yield from _one(
        database, spec, run_range_test(task, data, growth, spec.optimizer.name, point, seeds)
    )
    if plan.zoom:
        slower = run_range_test(task, data, zoomed(test), spec.optimizer.name, point, seeds)
        test = yield from _one(database, spec, slower)
    yield test


def find_range(
    database: Database, spec: StudySpec, task: Task, data: TrainingData, plan: RangeTestPlan
) -> RangeTest:
    """Run and store a range test as :func:`run` does, and return it."""
    *_steps, test = run(database, spec, task, data, plan)
    if not isinstance(test, RangeTest):
        raise TypeError("a range test yields itself at the last")
    return test


def stored_range_test(database: Database, spec: StudySpec, steps_per_epoch: int) -> RangeTest | None:
    """Return the newest stored range test that :func:`run` could have made for a study, or None.

    Args:
        database: where it is stored.
        spec: resolved.
        steps_per_epoch: updates in an epoch of its data.
    """
    point = middle(spec)
    wanted = {
        "optimizer": spec.optimizer.name,
        "optimizer_knobs": dict(point.optimizer),
        "lr_scales": dict(point.lr_scales),
        "layer_decay": point.layer_decay,
        "frozen": list(point.frozen),
        "steps_per_epoch": steps_per_epoch,
    }
    for stored in list_range_tests(database, spec.task):
        settings = stored.test.settings
        if all(settings.get(name) == value for name, value in wanted.items()):
            return stored.test
    return None


def _check_follows(optimizer: str) -> None:
    if not optimizer_named(optimizer).follows_lr:
        raise SpecError(
            f"a range test needs an optimizer whose every update uses the learning rate, but {optimizer} "
            "uses it in its first update alone, and then finds the size of each weight's updates by itself: "
            'the curve would not depend on the rates. Search lr instead, with kinds = ["constant"] and '
            "warmup_fraction = 0, or test another optimizer"
        )


def _one(
    database: Database, spec: StudySpec, items: Iterator[RangeTestStep | RangeTest]
) -> Generator[RangeTestStep, None, RangeTest]:
    """Yield the steps of a range test, store it under the study's task, and return it."""
    for item in items:
        if isinstance(item, RangeTest):
            return record_range_test(database, replace(item, task=spec.task)).test
        yield item
    raise RuntimeError("a range test yields itself at the last")


def with_range_test(spec: StudySpec, test: RangeTest) -> StudySpec:
    """Return a study that searches around what a range test found.

    The test's interval, widened by a factor of 3 to both sides, becomes the range of lr; its suggestions
    become first trials, and its ends base and peak of cyclical kinds.

    Args:
        spec: resolved.
        test: of the same task.

    Raises:
        InputError: if the test suggests nothing.
    """
    bounds = search_bounds(suggestions(test))
    if bounds is None:
        raise InputError(
            "the range test suggests no learning rate, so that it cannot bound a search: "
            + " ".join(find_zones(test).hints)
        )
    space = spec.space.model_copy(update={"lr": Range(bounds.low, bounds.high, log=True)})
    found = RangeTestSpec(low=bounds.interval_low, high=bounds.interval_high, lrs=list(bounds.lrs))
    return spec.replace(space=space, range_test=found)


def with_stored_bounds(database: Database, spec: StudySpec) -> StudySpec:
    """Return a study with the bounds and first trials that an earlier range test gave the stored one."""
    stored = stored_spec(find_study(database, spec.name))
    space = spec.space.model_copy(update={"lr": stored.space.lr})
    return spec.replace(space=space, range_test=stored.range_test)
