"""How many trials end in a second."""

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import sqlalchemy as sa

from benchmarks.postgresql import Server, empty_database
from benchmarks.rate.contestants import OPTUNA, Contestant, study_spec, work
from lrsearch.service.studies import open_study
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import open_database

ENDED = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"


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


def measure(
    contestant: Contestant,
    sampler: str,
    workers: int,
    server: Server,
    warm_up_s: float,
    seconds: float,
) -> Rate:
    """Return how many trials workers finish in a second on a new database."""
    with empty_database(server.url) as url:
        with open_database(url) as database:
            open_study(database, study_spec(sampler))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.rate.contestants"])
        ready = context.Barrier(workers + 1)
        crew = [
            context.Process(target=work, args=(contestant, sampler, url, place, ready), daemon=True)
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
    """Return the median of a contestant's rate in multiples of Optuna's in the same round, or None."""
    own, others = (_per_s(rates, sampler, workers, each) for each in (name, OPTUNA.name))
    ratios = [mine / other for mine, other in zip(own, others, strict=False) if other > 0]
    return median(ratios) if ratios else None


def _per_s(rates: Sequence[Rate], sampler: str, workers: int, name: str) -> list[float]:
    return [r.per_s for r in rates if (r.sampler, r.workers, r.contestant) == (sampler, workers, name)]
