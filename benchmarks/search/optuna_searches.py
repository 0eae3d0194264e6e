"""The two ways in which Optuna searches."""

import logging
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import optuna
import torch

from benchmarks.search.problem import CPU, Problem, Training
from benchmarks.search.runs import Run
from benchmarks.training.tutorial import tutorial_loop
from lrsearch.parameters import Point, SearchSpace
from lrsearch.results import EpochResult
from lrsearch.search.space import suggest
from lrsearch.service.optimize import middle
from lrsearch.training.data import load_data
from lrsearch.training.eager import build_model
from lrsearch.training.trainer import TrialSettings, create_trainer

TUTORIAL_SECONDS = 5.0  # for which its loop is timed
SLACK_S = 120.0  # beyond the cap, for starting processes and the last epoch
STUDY = "benchmark"


def tutorial_epoch_s(problem: Problem) -> float:
    """Return the seconds that an epoch of the tutorial's loop takes, validation left out."""
    task = problem.task
    model = build_model(task, problem.seed, CPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch_size = problem.spec.batch_size or task.batch_size
    loop = tutorial_loop(task, model, optimizer, batch_size)
    next(loop)
    steps, begun = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begun) < TUTORIAL_SECONDS:
        next(loop)
        steps += 1
    return elapsed / steps * (len(task.splits().train) // batch_size)


class Charged:
    """A clock that counts an epoch's charge in place of the time that its replay took."""

    def __init__(self, epoch_s: float) -> None:
        self._epoch_s, self._begun = epoch_s, time.perf_counter()
        self._replayed_s, self.epochs = 0.0, 0

    def replay(self, epoch: Callable[[], Any]) -> Any:
        """Train an epoch, which is charged, and return what it returned."""
        begun = time.perf_counter()
        result = epoch()
        self._replayed_s += time.perf_counter() - begun
        self.epochs += 1
        return result

    @property
    def seconds(self) -> float:
        """Since the clock was made, with the charges."""
        return time.perf_counter() - self._begun - self._replayed_s + self.epochs * self._epoch_s


def documented(problem: Problem, epoch_s: float) -> Run:
    """Search as Optuna's documentation shows it, its epochs charged the tutorial's time.

    Args:
        problem: what is searched.
        epoch_s: seconds of an epoch of the tutorial's loop.
    """
    spec, task = problem.spec, problem.task
    data = load_data(task, spec.batch_size or task.batch_size, CPU)
    settings = TrialSettings(spec.epochs or task.epochs, spec.optimizer.name, problem.seed, middle(spec))
    array = create_trainer(task, data, settings, lanes=1, at_most=1).array  # with a trial's own losses
    training = Training(problem, {})
    clock = Charged(epoch_s)
    with tempfile.TemporaryDirectory() as folder:
        study = _create_study(f"sqlite:///{folder}/optuna.db", problem.seed)

        def losses(trial: int, point: Point) -> Iterator[float]:
            array.start(trial, training.hyperparameters(point))
            for _ in range(training.epochs):
                result = clock.replay(array.run_epoch)[0]
                yield result.valid_loss if isinstance(result, EpochResult) else math.nan
            array.drop([trial])

        search = _Search(problem, training.space, losses, lambda: clock.seconds)
        search.run(study)
    seconds = search.reached_s if search.reached_s is not None else problem.cap_s
    return Run(
        "optuna-documented",
        problem.seed,
        problem.study,
        problem.target,
        problem.cap_s,
        search.reached_s is not None,
        seconds,
        clock.epochs,
        search.best,
        epoch_s,
    )


class _Search:
    """The objective of a study, as Optuna's documentation writes it, and when it reached the loss."""

    def __init__(
        self,
        problem: Problem,
        space: SearchSpace,
        losses: Callable[[int, Point], Iterator[float]],
        clock: Callable[[], float],
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._problem, self._space, self._losses = problem, space, losses
        self._clock, self._ended = clock, ended
        self.reached_s: float | None = None
        self.best, self.epochs = math.inf, 0

    def run(self, study: optuna.Study) -> None:
        study.optimize(self._objective)

    def _objective(self, trial: optuna.Trial) -> float:
        point = suggest(trial, self._space)
        loss = math.nan
        for epoch, loss in enumerate(self._losses(trial.number, point), start=1):
            self.epochs += 1
            self.best = min(self.best, loss)
            if self._stops(loss):
                trial.study.stop()
                raise optuna.TrialPruned
            trial.report(loss, epoch)
            if not math.isfinite(loss) or trial.should_prune():
                raise optuna.TrialPruned
        return loss

    def _stops(self, loss: float) -> bool:
        seconds = self._clock()
        if loss <= self._problem.target and seconds <= self._problem.cap_s:
            self.reached_s = seconds
        return self.reached_s is not None or seconds > self._problem.cap_s or self._ended()


def resident(problem: Problem) -> Run:
    """Search in one process per core that share a study, each in ordinary PyTorch on resident tensors."""
    begun = time.time()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/optuna.db"
        _create_study(storage, problem.seed)
        stop, ends = spawn.Event(), spawn.Queue()
        workers = [
            spawn.Process(target=_work, args=(problem, storage, number, begun, stop, ends), daemon=True)
            for number in range(problem.processes)
        ]
        for worker in workers:
            worker.start()
        found: list[_End] = [ends.get(timeout=problem.cap_s + SLACK_S) for _ in workers]
        for worker in workers:
            worker.join()
    reached = [end.reached_s for end in found if end.reached_s is not None]
    return Run(
        "optuna-resident",
        problem.seed,
        problem.study,
        problem.target,
        problem.cap_s,
        bool(reached),
        min(reached, default=problem.cap_s),
        sum(end.epochs for end in found),
        min(end.best for end in found),
    )


@dataclass(frozen=True)
class _End:
    """What a process did: its time of reaching the loss, epochs, and its lowest validation loss."""

    reached_s: float | None
    epochs: int
    best: float


def _work(problem: Problem, storage: str, number: int, begun: float, stop: Any, ends: Any) -> None:
    training = Training(problem)
    search = _Search(
        problem,
        training.space,
        lambda _trial, point: training.losses(point),
        lambda: time.time() - begun,
        stop.is_set,
    )
    try:
        search.run(_load_study(storage, problem.seed + 1000 * number))
    finally:
        stop.set()
        ends.put(_End(search.reached_s, search.epochs, search.best))


def _create_study(storage: str, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    return optuna.create_study(study_name=STUDY, storage=storage, sampler=sampler)


def _load_study(storage: str, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    return optuna.load_study(study_name=STUDY, storage=storage, sampler=sampler)
