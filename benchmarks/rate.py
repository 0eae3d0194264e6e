"""Measures how many trials per second workers finish that share a study in PostgreSQL, Optuna's own beside ours.

Run it with: python -m benchmarks.rate --markdown docs/rate-benchmark.md

The trials cost nothing: an objective of one epoch that reports one value. Space and number of parameters are the
same (learning rate, momentum, weight decay, and a choice of two schedules), and the samplers are a random one and
TPE, each one's own. Optuna's workers call ``study.optimize`` on its ``RDBStorage``, one process each. Ours run the
service's loop, with one trial at a time as Optuna has it, or with 16 lanes. All start together once their studies
are open, warm up, and are counted for some seconds by what the database then holds. Each round measures all of
them one after the other; a ratio is of one round, and the table has the median of the rounds. The server runs on
the same machine and does not wait for its disk, which favours whoever commits more often: Optuna.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import optuna
import sqlalchemy as sa
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from benchmarks import postgresql
from lrsearch.results import EpochResult
from lrsearch.schedules import Hyperparameters
from lrsearch.search.space import suggest
from lrsearch.service.search import Search
from lrsearch.service.studies import OpenStudy, open_study, resolved, stored_spec
from lrsearch.spec import StudySpec, search_space, spec_from
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import open_database
from lrsearch.storage.studies import find_study

TITLE = "Trials per second of many workers"
STUDY = "rate"
TRIALS = 20_000  # more than any contestant finishes
SAMPLERS = ("random", "tpe")
GOAL, GOAL_WORKERS = 5.0, 16
ENDED = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"


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
CONTESTANTS = (OPTUNA, Contestant("lrsearch", 1), Contestant("lrsearch, 16 lanes", 16))


@dataclass(frozen=True)
class Rate:
    """What was measured in one round.

    Args:
        contestant: name of who ran the trials.
        sampler: random or tpe.
        workers: processes.
        per_s: trials that ended in a second, by all of them together.
    """

    contestant: str
    sampler: str
    workers: int
    per_s: float


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


def measure(
    contestant: Contestant,
    sampler: str,
    workers: int,
    server: postgresql.Server,
    warm_up_s: float,
    seconds: float,
) -> Rate:
    """Return how many trials workers finish in a second on a new database."""
    with postgresql.empty_database(server.url) as url:
        with open_database(url) as database:
            open_study(database, study_spec(sampler))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.rate"])
        ready = context.Barrier(workers + 1)
        crew = [
            context.Process(target=_work, args=(contestant, sampler, url, place, ready), daemon=True)
            for place in range(workers)
        ]
        for worker in crew:
            worker.start()
        try:
            ready.wait()
            time.sleep(warm_up_s)
            per_s = _rate(url, seconds)
        finally:
            for worker in crew:
                worker.kill()
                worker.join()
        return Rate(contestant.name, sampler, workers, per_s)


def _rate(url: str, seconds: float) -> float:
    engine = sa.create_engine(parse_address(url).url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        begun, before = time.perf_counter(), connection.exec_driver_sql(ENDED).scalar_one()
        time.sleep(seconds)
        after, ended = connection.exec_driver_sql(ENDED).scalar_one(), time.perf_counter()
    return float(after - before) / (ended - begun)


def _work(contestant: Contestant, sampler: str, url: str, place: int, ready: Barrier) -> None:
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


def table(rates: Sequence[Rate]) -> str:
    """Return the table of rates, and whether the goal is met."""
    lines = [
        "| sampler | workers | contestant | trials per second | times Optuna's |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for sampler, workers, name in dict.fromkeys((r.sampler, r.workers, r.contestant) for r in rates):
        ratio = times_optunas(rates, sampler, workers, name)
        mine = _per_s(rates, sampler, workers, name)
        lines.append(
            f"| {sampler} | {workers} | {name} | {median(mine):.1f} | "
            f"{'' if ratio is None or name == OPTUNA.name else f'{ratio:.1f}'} |"
        )
    return "\n".join(lines) + "\n"


def times_optunas(rates: Sequence[Rate], sampler: str, workers: int, name: str) -> float | None:
    """Return the median over the rounds of a contestant's rate as a multiple of Optuna's, if it was measured."""
    own, others = (_per_s(rates, sampler, workers, each) for each in (name, OPTUNA.name))
    ratios = [mine / other for mine, other in zip(own, others, strict=False) if other > 0]
    return median(ratios) if ratios else None


def _per_s(rates: Sequence[Rate], sampler: str, workers: int, name: str) -> list[float]:
    return [r.per_s for r in rates if (r.sampler, r.workers, r.contestant) == (sampler, workers, name)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = _parser().parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rates = []
    for _round in range(options.rounds):
        for sampler in options.sampler:
            for workers in options.workers:
                for contestant in CONTESTANTS:
                    if contestant.name not in options.only:
                        continue
                    with postgresql.server() as server:
                        rates.append(
                            measure(contestant, sampler, workers, server, options.warm_up_s, options.seconds)
                        )
                    print(rates[-1], file=sys.stderr)
    found = table(rates)
    print(found)
    if options.markdown:
        options.markdown.write_text(f"# {TITLE}\n\n{__doc__}\n{found}", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rate", description=(__doc__ or "").partition("\n")[0]
    )
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up-s", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=10.0, help="for which trials are counted")
    parser.add_argument("--markdown", type=Path, help="page that is written")
    return parser


if __name__ == "__main__":
    main()
