"""The baselines that a confirmation compares trials with, tuned where fairness asks for it."""

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from lrsearch.errors import InputError
from lrsearch.lr_range import suggestions
from lrsearch.retrainings import Candidate, Run
from lrsearch.schedules import Hyperparameters
from lrsearch.search import baselines
from lrsearch.service.range_test import RangeTestPlan, find_range, stored_range_test
from lrsearch.service.retraining import RetrainingProgress, Workshop
from lrsearch.spec import StudySpec
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records

LEAST_RATES = 3  # with fewer, a baseline is not tuned
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
    import torch  # here, because it takes a second

    lr = inspect.signature(getattr(torch.optim, spec.optimizer.name)).parameters["lr"].default
    if not isinstance(lr, int | float):
        return Baseline(None, f"PyTorch has no default learning rate for {spec.optimizer.name}")
    return _baseline(f"PyTorch's default lr {lr:g}, constant", baselines.default_rate(spec, float(lr)))


def tuned_linear_decay(
    workshop: Workshop, stop_requested: Callable[[], bool]
) -> Generator[RetrainingProgress, None, Baseline | None]:
    """Tune the rate of linear decay with as many epochs as one schedule kind got in the study.

    Half of the runs are spread over the study's range of rates, the others around the best of these.

    Args:
        workshop: where.
        stop_requested: asked after every epoch.

    Returns:
        None if it was stopped.
    """
    spec = workshop.spec
    count = max(LEAST_RATES, round(_epochs_of_a_kind(workshop) / (spec.epochs or 1)))
    losses: dict[float, float] = {}
    yield from _tried(workshop, baselines.spread_rates(spec, (count + 1) // 2), losses, stop_requested)
    if losses and not stop_requested():
        around = baselines.rates_around(_best(losses), sorted(losses), count - len(losses))
        yield from _tried(workshop, around, losses, stop_requested)
    if stop_requested() or not losses:
        return None
    lr = _best(losses)
    note = (
        f"linear decay was tuned with {len(losses)} runs of {spec.epochs} epochs (as much as one "
        f"schedule kind got in the search, but at least {LEAST_RATES} runs): of these rates, {lr:.3g} is best"
    )
    return _baseline(f"linear decay from a tuned {lr:.3g}", baselines.linear_decay(spec, lr), note)


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


def _tried(
    workshop: Workshop, rates: Sequence[float], losses: dict[float, float], stop_requested: Callable[[], bool]
) -> Generator[RetrainingProgress, None, None]:
    """Train linear decay from some rates under the study's seed, and enter the losses of those that ended."""
    spec = workshop.spec
    points = [baselines.linear_decay(spec, lr).to_point() for lr in rates]
    runs = [Run(point, spec.seed, spec.epochs or 1) for point in points]
    yield from workshop.train(runs, "tuning linear decay, a baseline", stop_requested)
    for lr, retraining in zip(rates, workshop.stored(runs), strict=True):
        if retraining is not None:
            losses[lr] = retraining.value


def _best(losses: dict[float, float]) -> float:
    return min(losses, key=losses.__getitem__)


def _epochs_of_a_kind(workshop: Workshop) -> float:
    record = find_study(workshop.database, workshop.spec.name)
    trained = sum(each.epochs for each in trial_records(workshop.database, record))
    return trained / len(workshop.spec.space.kinds or ("constant",))


def _baseline(name: str, point: Hyperparameters, note: str | None = None) -> Baseline:
    return Baseline(Candidate(name, point.to_point()), note)
