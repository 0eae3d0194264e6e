"""Measures what a study costs apart from training: storage, sampler, and the loop around them.

Run it with: python -m benchmarks.study --trials 100 1000 10000 --storage sqlite

A trainer without training returns made-up losses at once. Each study has 64 lanes, 10 epochs per trial and
no pruning; 5 to 7 of its parameters belong to a trial. Of lrsearch's own loop, the last 320 trials are
measured. On the study that they fill, Optuna then runs 64 more, by its own storage and its own multivariate
TPE: one after the other, and 64 at once as lanes would ask for them. Of Optuna, the storage is what a random
search costs, and the sampler what TPE costs more. All figures are milliseconds per trial: of wall time, or
with --clock processor of this process alone, which is right for SQLite where other programs keep it waiting.
"""

import argparse
import contextlib
import json
import math
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from benchmarks import postgresql
from lrsearch.parameters import SearchSpace
from lrsearch.results import EpochResult
from lrsearch.schedules import Hyperparameters
from lrsearch.search.samplers import TreeParzenSampler
from lrsearch.search.space import suggest
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import StudySpec, search_space, spec_from
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import Database, open_database

LANES = 64
EPOCHS = 10
WINDOW = 5 * LANES
STORAGES = ("sqlite", "postgres")
GOLDEN_RATIO = 1.618033988749895  # its multiples modulo 1 are spread evenly, as noise at no cost
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
_MS = 1000.0

Clock = Callable[[], float]
"""Returns seconds."""


class IdleArray:
    """A trainer of trials that trains nothing: losses are a function of lr, the trial and the epoch."""

    device = "cpu"
    steps_per_epoch = 100
    untrained_loss = 100.0

    def __init__(self) -> None:
        self._lanes: dict[int, tuple[Hyperparameters, int]] = {}

    def start(self, trial: int, hyperparameters: Hyperparameters) -> None:
        """Put a trial into a lane."""
        self._lanes[trial] = hyperparameters, 0

    def run_epoch(self) -> list[EpochResult]:
        """Advance all lanes."""
        self._lanes = {trial: (point, epoch + 1) for trial, (point, epoch) in self._lanes.items()}
        return [_epoch(trial, point.lr, epoch) for trial, (point, epoch) in self._lanes.items()]

    def drop(self, trials: Collection[int]) -> None:
        """Free lanes."""
        for trial in trials:
            self._lanes.pop(trial, None)


@dataclass(frozen=True)
class Cost:
    """What one trial costs apart from training, in milliseconds.

    Args:
        loop: who runs the study.
        storage_name: sqlite or postgres.
        trials: that the study has when it is measured.
        storage: reading and writing the database.
        sampler: proposing points.
        rest: everything else.
    """

    loop: str
    storage_name: str
    trials: int
    storage: float
    sampler: float
    rest: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.storage + self.sampler + self.rest


class Stopwatch:
    """Adds up the seconds that calls take, by name.

    Args:
        clock: that is read before and after each call.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds: Counter[str] = Counter()

    def watch(self, name: str, owner: Any, method: str) -> None:
        """Count the time of a method's calls from now on."""
        call: Callable[..., Any] = getattr(owner, method)

        def watched(*arguments: Any, **options: Any) -> Any:
            begun = self.clock()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds[name] += self.clock() - begun

        setattr(owner, method, watched)


def study_spec(trials: int) -> StudySpec:
    """Return the specification of the study that is measured."""
    content = {
        "name": "cost",
        "task": "digits-mlp",
        "trials": trials,
        "epochs": EPOCHS,
        "sampler": "tpe",
        "pruner": "none",
        "first_trials": False,
        "optimizer": {
            "name": "SGD",
            "momentum": {"low": 0.0, "high": 0.95},
            "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
        },
    }
    return resolved(spec_from(content, "benchmark"))


def own_cost(database: Database, spec: StudySpec, storage_name: str, clock: Clock) -> Cost:
    """Run a whole study in lrsearch's loop, and return what its last trials cost."""
    watch = Stopwatch(clock)
    for method in ("transaction", "read"):
        watch.watch("storage", database.optuna_storage, method)
    propose = TreeParzenSampler.propose
    watch.watch("sampler", TreeParzenSampler, "propose")
    begun, before, counted = clock(), Counter[str](), 0
    try:
        for progress in Search(database, open_study(database, spec), IdleArray(), LANES).run():
            if progress.ended_trials <= spec.trials - WINDOW:
                begun, before, counted = clock(), watch.seconds.copy(), progress.ended_trials
    finally:
        TreeParzenSampler.propose = propose  # type: ignore[method-assign]  # as it was
    scale = _MS / (spec.trials - counted)
    storage, sampler = (scale * (watch.seconds[name] - before[name]) for name in ("storage", "sampler"))
    rest = scale * (clock() - begun) - storage - sampler
    return Cost("lrsearch", storage_name, spec.trials, storage, sampler, rest)


def optuna_cost(url: str, spec: StudySpec, storage_name: str, clock: Clock, at_once: int) -> Cost:
    """Run trials by Optuna's own storage and samplers on a filled study, and return what they cost."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ``group`` is experimental
        tpe = TPESampler(seed=0, multivariate=True, group=True, constant_liar=True)
    storage, both = (
        _optuna_seconds(url, spec, sampler, clock, at_once) * _MS / LANES
        for sampler in (RandomSampler(seed=0), tpe)
    )
    name = "Optuna" if at_once == 1 else f"Optuna, {at_once} at once"
    return Cost(name, storage_name, spec.trials, storage, max(0.0, both - storage), 0.0)


def _optuna_seconds(url: str, spec: StudySpec, sampler: BaseSampler, clock: Clock, at_once: int) -> float:
    storage, space = optuna.storages.RDBStorage(url), search_space(spec)
    study = optuna.load_study(study_name=spec.name, storage=storage, sampler=sampler)
    study.get_trials(deepcopy=False)  # the first reading of a filled study is not a trial's cost
    begun = clock()
    for _round in range(LANES // at_once):
        _optuna_round(study, space, at_once)
    seconds = clock() - begun
    storage.remove_session()
    storage.engine.dispose()
    return seconds


def _optuna_round(study: optuna.Study, space: SearchSpace, at_once: int) -> None:
    asked = []
    for _lane in range(at_once):
        trial = study.ask()
        asked.append((trial, float(suggest(trial, space)["lr"])))
    for epoch in range(1, EPOCHS + 1):
        for trial, lr in asked:
            trial.report(_loss(trial.number, lr, epoch), epoch)
    for trial, lr in asked:
        study.tell(trial, _loss(trial.number, lr, EPOCHS))


def measure(storage_name: str, trials: int, clock: Clock) -> list[Cost]:
    """Return what a trial costs in a study of so many trials, in lrsearch's loop and in Optuna's."""
    with _empty_database(storage_name) as url, open_database(url) as database:
        spec = study_spec(trials)
        own = own_cost(database, spec, storage_name, clock)
        at_once = partial(optuna_cost, parse_address(url).url, spec, storage_name, clock)
        return [own, at_once(1), at_once(LANES)]


def markdown(costs: Sequence[Cost]) -> str:
    """Return the table of costs."""
    lines = [
        "| storage | trials | loop | storage, ms | sampler, ms | rest, ms | together, ms |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for cost in costs:
        figures = (cost.storage, cost.sampler, cost.rest, cost.total)
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        lines.append(f"| {cost.storage_name} | {cost.trials} | {cost.loop} | {cells} |")
    return "\n".join(lines) + "\n"


def _epoch(trial: int, lr: float, epoch: int) -> EpochResult:
    loss = _loss(trial, lr, epoch)
    return EpochResult(trial, epoch, loss, loss, {"valid_accuracy": 0.5}, lr, 0.01)


def _loss(trial: int, lr: float, epoch: int) -> float:
    noise = 0.1 * (trial * GOLDEN_RATIO % 1)
    return (math.log10(lr) + 1) ** 2 + float(0.6**epoch) + noise


@contextlib.contextmanager
def _empty_database(storage_name: str) -> Iterator[str]:
    if storage_name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/study.db"
    else:
        with postgresql.server() as server, postgresql.empty_database(server.url) as url:
            yield url


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000], help="of each study")
    parser.add_argument("--storage", nargs="+", choices=STORAGES, default=["sqlite"])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path, help="file that the figures are written to")
    options = parser.parse_args(arguments)
    pairs = product(options.storage, options.trials)
    costs = [cost for pair in pairs for cost in measure(*pair, CLOCKS[options.clock])]
    print(markdown(costs))
    if options.json:
        figures = [{**asdict(cost), "total": cost.total} for cost in costs]
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
