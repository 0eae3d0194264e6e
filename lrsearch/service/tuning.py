"""Tunes the learning rate of what a study is compared with, by runs under the study's seed."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from lrsearch.retrainings import Run
from lrsearch.schedules import Hyperparameters
from lrsearch.search.baselines import rates_around, spread_rates
from lrsearch.service.retraining import RetrainingProgress, Workshop
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records

LEAST_RUNS = (
    6  # three rates spread over a range of decades, and three around the best: with fewer, it is missed
)


@dataclass(frozen=True)
class Tuned:
    """A tuned learning rate.

    Args:
        lr: the best.
        runs: that were compared.
        lost: whether all of them diverged or failed, so that no rate is known.
    """

    lr: float
    runs: int
    lost: bool = False


@dataclass(frozen=True)
class Tuning:
    """What is tuned.

    Args:
        name: how it is called.
        configuration: its hyperparameters at a learning rate.
        optimizer: class of its optimizer, where it is not the study's; else None.
    """

    name: str
    configuration: Callable[[float], Hyperparameters]
    optimizer: str | None = None


def tuned(
    workshop: Workshop, tuning: Tuning, count: int, stop_requested: Callable[[], bool]
) -> Generator[RetrainingProgress, None, Tuned | None]:
    """Tune a learning rate: half of the runs are spread over the range, the others around the best of these.

    Args:
        workshop: where; its specification has the range.
        tuning: what is tuned.
        count: of the runs, at least 1.
        stop_requested: asked after every epoch.

    Returns:
        None if it was stopped.
    """
    losses: dict[float, float] = {}
    yield from _tried(workshop, tuning, spread_rates(workshop.spec, (count + 1) // 2), losses, stop_requested)
    if losses and not stop_requested():
        around = rates_around(_best(losses), sorted(losses), count - len(losses))
        yield from _tried(workshop, tuning, around, losses, stop_requested)
    if stop_requested() or not losses:
        return None
    best = _best(losses)
    return Tuned(best, len(losses), lost=not math.isfinite(losses[best]))


def runs_of_the_search(workshop: Workshop, share: float = 1.0) -> int:
    """Return how many whole runs have the epochs of a share of all trials, but at least ``LEAST_RUNS``."""
    record = find_study(workshop.database, workshop.spec.name)
    epochs = sum(each.epochs for each in trial_records(workshop.database, record))
    return max(LEAST_RUNS, round(share * epochs / (workshop.spec.epochs or 1)))


def _tried(
    workshop: Workshop,
    tuning: Tuning,
    rates: Sequence[float],
    losses: dict[float, float],
    stop_requested: Callable[[], bool],
) -> Generator[RetrainingProgress, None, None]:
    """Train at some rates under the study's seed, and enter the losses of the runs that ended."""
    spec = workshop.spec
    points = [tuning.configuration(lr).to_point() for lr in rates]
    runs = [Run(point, spec.seed, spec.epochs or 1, optimizer=tuning.optimizer) for point in points]
    yield from workshop.train(runs, f"tuning {tuning.name}", stop_requested)
    for lr, retraining in zip(rates, workshop.stored(runs), strict=True):
        if retraining is not None:
            losses[lr] = retraining.value


def _best(losses: Mapping[float, float]) -> float:
    return min(losses, key=losses.__getitem__)
