"""Who runs the trials: Optuna's workers, or ours."""

from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from lrsearch.results import EpochResult
from lrsearch.schedules import Hyperparameters
from lrsearch.search.space import suggest
from lrsearch.service.search import Search
from lrsearch.service.studies import OpenStudy, resolved, stored_spec
from lrsearch.spec import StudySpec, search_space, spec_from
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import open_database
from lrsearch.storage.studies import find_study

STUDY = "rate"
TRIALS = 20_000  # more than any contestant finishes
SAMPLERS = ("random", "tpe")


@dataclass(frozen=True)
class Contestant:
    """Who runs the trials.

    Args:
        name: for people.
        lanes: trials that each of our workers has at once; None for Optuna.
    """

    name: str
    lanes: int | None


OPTUNA = Contestant("Optuna", None)
CONTESTANTS = (OPTUNA, Contestant("lrsearch, one trial at a time", 1), Contestant("lrsearch, 16 lanes", 16))


class FreeArray:
    """A trial array whose epochs cost nothing."""

    device = "cpu"
    steps_per_epoch = 100
    untrained_loss = 100.0

    def __init__(self) -> None:
        self._lanes: dict[int, Hyperparameters] = {}

    def start(self, trial: int, hyperparameters: Hyperparameters) -> None:
        """Put a trial into a lane."""
        self._lanes[trial] = hyperparameters

    def run_epoch(self) -> list[EpochResult]:
        """Return what each lane has learned in its only epoch."""
        return [
            EpochResult(trial, 1, point.lr, point.lr, {}, point.lr, 0.0)
            for trial, point in self._lanes.items()
        ]

    def drop(self, trials: Collection[int]) -> None:
        """Free lanes."""
        for trial in trials:
            self._lanes.pop(trial, None)


def study_spec(sampler: str) -> StudySpec:
    """Return the specification of the study that is measured."""
    content = {
        "name": STUDY,
        "task": "digits-mlp",
        "trials": TRIALS,
        "epochs": 1,
        "sampler": sampler,
        "pruner": "none",
        "first_trials": False,
        "space": {"kinds": ["constant", "LinearLR"], "warmup_fraction": 0.0},
        "optimizer": {
            "name": "SGD",
            "momentum": {"low": 0.0, "high": 0.95},
            "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
        },
    }
    return resolved(spec_from(content, "benchmark"))


def work(contestant: Contestant, sampler: str, url: str, place: int, ready: Barrier) -> None:
    """Run trials until killed.

    Args:
        contestant: who runs them.
        sampler: random or tpe.
        url: of the database, in which the study is.
        place: of this worker among all.
        ready: is waited at before the first trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if contestant.lanes is None:
        _work_as_optuna(sampler, url, place, ready)
    else:
        _work_as_lrsearch(url, contestant.lanes, ready)


def _work_as_lrsearch(url: str, lanes: int, ready: Barrier) -> None:
    with open_database(url) as database:
        record = find_study(database, STUDY)
        search = Search(database, OpenStudy(record, stored_spec(record)), FreeArray(), lanes)
        ready.wait()
        for _progress in search.run():
            pass


def _work_as_optuna(sampler: str, url: str, place: int, ready: Barrier) -> None:
    space = search_space(study_spec(sampler))
    samplers: dict[str, BaseSampler] = {"random": RandomSampler(seed=place), "tpe": TPESampler(seed=place)}
    storage = optuna.storages.RDBStorage(parse_address(url).url)
    study = optuna.load_study(study_name=STUDY, storage=storage, sampler=samplers[sampler])

    def objective(trial: optuna.Trial) -> float:
        value = float(suggest(trial, space)["lr"])
        trial.report(value, 1)
        return value

    ready.wait()
    study.optimize(objective)
