"""``lrsearch optimize`` as a user runs it, and bare arrays that train the same trials without a search."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.training.crew import TIMEOUT_S
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks import load_task
from lrsearch.training.data import load_data
from lrsearch.training.trainer import TrialSettings, create_trainer

# What is imported in the functions needs the rest of lrsearch's dependencies.


@dataclass(frozen=True)
class Setting:
    """A run of ``lrsearch optimize``.

    Args:
        study: name of a shipped study.
        trials: budget.
        workers: processes.
        lanes: trials at once in each.
        data_dir: folder of the data sets.
        epochs: of a trial; None for the study's.
        device: which trains.
    """

    study: str
    trials: int
    workers: int
    lanes: int
    data_dir: Path
    epochs: int | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class TrainedTrial:
    """A trial that a search has trained.

    Args:
        hyperparameters: what it trained with.
        epochs: that it trained.
    """

    hyperparameters: Hyperparameters
    epochs: int


@dataclass(frozen=True)
class Work:
    """What the bare arrays train.

    Args:
        setting: of the search.
        task: its name.
        batch_size: of an update.
        settings: of all trials.
        trials: in the order in which they began.
    """

    setting: Setting
    task: str
    batch_size: int
    settings: TrialSettings
    trials: tuple[TrainedTrial, ...]


@dataclass(frozen=True)
class EndToEnd:
    """A search and its bare arrays, timed.

    Args:
        study: name.
        trials: that ended.
        trial_epochs: that all of them trained.
        workers: processes.
        lanes: trials at once in each.
        seconds: of the search, from starting the command to its end.
        training_seconds: of the search, from its first trial's beginning to its last one's end.
        bare_seconds: of the bare arrays, from the first one's beginning to the last one's end.
    """

    study: str
    trials: int
    trial_epochs: int
    workers: int
    lanes: int
    seconds: float
    training_seconds: float
    bare_seconds: float

    @property
    def rate(self) -> float:
        """Trial-epochs per second of the search, after its start-up."""
        return self.trial_epochs / self.training_seconds

    @property
    def bare_rate(self) -> float:
        """Trial-epochs per second of the bare arrays."""
        return self.trial_epochs / self.bare_seconds


def end_to_end(setting: Setting, seed: int) -> EndToEnd:
    """Run a search, then train its trials again in bare arrays."""
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/search.db"
        begun = time.perf_counter()
        _run_command(setting, storage, seed)
        seconds = time.perf_counter() - begun
        work, training_seconds = _work_of(setting, storage)
    trial_epochs = sum(trial.epochs for trial in work.trials)
    return EndToEnd(
        setting.study,
        len(work.trials),
        trial_epochs,
        setting.workers,
        setting.lanes,
        seconds,
        training_seconds,
        bare_seconds(work),
    )


def _run_command(setting: Setting, storage: str, seed: int) -> None:
    options = {
        "storage": storage,
        "trials": setting.trials,
        "epochs": setting.epochs,
        "workers": setting.workers,
        "lanes": setting.lanes,
        "device": setting.device,
        "seed": seed,
        "data-dir": setting.data_dir,
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    command = [sys.executable, "-m", "lrsearch", "optimize", setting.study, *given, "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")


def _work_of(setting: Setting, storage: str) -> tuple[Work, float]:
    """Return what a search trained, and the seconds from its first trial's begin to its last one's end."""
    import optuna

    from lrsearch.service.optimize import middle
    from lrsearch.service.tasks import find_task
    from lrsearch.spec import hyperparameters, search_space, spec_from
    from lrsearch.storage.database import open_database
    from lrsearch.storage.studies import find_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with open_database(storage) as database:
        stored = find_study(database, setting.study).spec
    spec = spec_from(stored, storage)
    task = find_task(spec, data_dir=setting.data_dir)
    space = search_space(spec)
    trials = optuna.load_study(study_name=setting.study, storage=storage).get_trials(deepcopy=False)
    trained = tuple(
        TrainedTrial(hyperparameters(spec, space.with_fixed(trial.params)), len(trial.intermediate_values))
        for trial in trials
    )
    ends = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    begins = [trial.datetime_start for trial in trials if trial.datetime_start]
    settings = TrialSettings(spec.epochs or task.epochs, spec.optimizer.name, spec.seed, middle(spec))
    work = Work(setting, spec.task, spec.batch_size or task.batch_size, settings, trained)
    return work, (max(ends) - min(begins)).total_seconds()


def bare_seconds(work: Work) -> float:
    """Return how long arrays alone need for trials, one of them in each process, freed lanes refilled."""
    spawn = multiprocessing.get_context("spawn")
    processes = work.setting.workers
    barrier, claimed, times = spawn.Barrier(processes), spawn.Value("i", 0), spawn.Queue()
    members = [
        spawn.Process(target=_train, args=(work, barrier, claimed, times), daemon=True)
        for _ in range(processes)
    ]
    for member in members:
        member.start()
    found = [times.get(timeout=TIMEOUT_S) for _ in members]
    for member in members:
        member.join()
    return float(max(end for _begin, end in found) - min(begin for begin, _end in found))


def _train(work: Work, barrier: Any, claimed: Any, times: Any) -> None:
    """Train trials until none is left; tell when it began and ended."""
    setting = work.setting
    if setting.device == "cpu":
        torch.set_num_threads(1)
    task = load_task(work.task, setting.data_dir)
    data = load_data(task, work.batch_size, torch.device(setting.device))
    array = create_trainer(task, data, work.settings, lanes=setting.lanes, at_most=setting.lanes).array
    running: dict[int, int] = {}
    barrier.wait()
    begun = time.time()
    while True:
        while len(running) < setting.lanes and (trial := _claimed(claimed, len(work.trials))) is not None:
            array.start(trial, work.trials[trial].hyperparameters)
            running[trial] = 0
        if not running:
            break
        array.run_epoch()
        running = {trial: epochs + 1 for trial, epochs in running.items()}
        ended = [trial for trial, epochs in running.items() if epochs >= work.trials[trial].epochs]
        array.drop(ended)
        for trial in ended:
            del running[trial]
    times.put((begun, time.time()))


def _claimed(claimed: Any, trials: int) -> int | None:
    with claimed.get_lock():
        if claimed.value >= trials:
            return None
        claimed.value += 1
        return int(claimed.value) - 1


def to_json(runs: Sequence[EndToEnd]) -> list[dict[str, Any]]:
    """Return runs as JSON can hold them."""
    return [vars(run) for run in runs]
