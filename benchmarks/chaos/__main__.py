"""The command: ``python -m benchmarks.chaos``."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import optuna

from benchmarks import postgresql
from benchmarks.chaos import __doc__ as explanation
from benchmarks.chaos.run import Aftermath, Ordeal, run
from benchmarks.chaos.scenarios import NEEDS_A_SERVER, SCENARIOS
from benchmarks.postgresql import Server

TITLE = "Studies whose workers die"
STORAGES = ("sqlite", "postgresql")
WORKERS = {"sqlite": 8, "postgresql": 16}
SHOWN = 10
COLUMNS = (
    "scenario",
    "storage",
    "workers",
    "run",
    "blows",
    "attempts",
    "trials",
    "COMPLETE",
    "PRUNED",
    "FAIL",
    "taken over after, s",
    "from a checkpoint",
    "seconds",
    "violations",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run studies, print the table, and return 1 if anything was wrong."""
    options = _parser().parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows: list[str] = []
    found = 0
    for scenario in options.scenario:
        for storage in options.storage:
            if scenario in NEEDS_A_SERVER and storage == "sqlite":
                continue
            for number in range(1, _runs(options, scenario) + 1):
                aftermath = _run(options, scenario, storage, number)
                rows.append(row(storage, number, aftermath))
                found += len(aftermath.violations)
                print(rows[-1], file=sys.stderr)
                for violation in aftermath.violations[:SHOWN]:
                    print(f"  {violation}", file=sys.stderr)
    table = "\n".join([*header(), *rows]) + "\n"
    print(table)
    if options.markdown:
        options.markdown.write_text(f"# {TITLE}\n\n{explanation}\n{table}", encoding="utf-8")
    return int(found > 0)


def header() -> list[str]:
    """Return the head of the table."""
    sides = " | ".join("---" if column in ("scenario", "storage") else "---:" for column in COLUMNS)
    return [f"| {' | '.join(COLUMNS)} |", f"| {sides} |"]


def row(storage: str, number: int, aftermath: Aftermath) -> str:
    """Return a run as a line of the table."""
    ordeal, recovery_s = aftermath.ordeal, aftermath.recovery_s
    taken = f"{median(recovery_s):.1f}, at most {max(recovery_s):.1f}" if recovery_s else ""
    cells = (
        ordeal.scenario,
        storage,
        ordeal.workers,
        number,
        aftermath.blows,
        aftermath.attempts,
        ordeal.trials,
        *(aftermath.outcomes.get(outcome, 0) for outcome in ("COMPLETE", "PRUNED", "FAIL")),
        taken,
        aftermath.resumed,
        f"{aftermath.seconds:.0f}",
        len(aftermath.violations),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _run(options: argparse.Namespace, scenario: str, storage: str, number: int) -> Aftermath:
    ordeal = Ordeal(
        scenario,
        options.workers or WORKERS[storage],
        options.trials,
        every_s=options.kill_every_s,
        late=number % 2 == 0,
        seed=number,
    )
    with _database(storage) as (url, server):
        return run(ordeal, url, server)


def _runs(options: argparse.Namespace, scenario: str) -> int:
    return options.runs if scenario == "kill" else max(2, options.runs // 5)


@contextlib.contextmanager
def _database(storage: str) -> Iterator[tuple[str, Server | None]]:
    if storage == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/study.db", None
    else:
        with postgresql.server() as server, postgresql.empty_database(server.url) as url:
            yield url, server


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=(explanation or "").partition("\n")[0]
    )
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--storage", nargs="+", choices=STORAGES, default=list(STORAGES))
    parser.add_argument(
        "--runs", type=int, default=10, help="of kill on each storage; of the others a fifth, at least two"
    )
    parser.add_argument("--workers", type=int, help="processes, else 8 on SQLite and 16 on PostgreSQL")
    parser.add_argument("--trials", type=int, default=300, help="of each study")
    parser.add_argument("--kill-every-s", type=float, default=1.0, help="seconds between two blows")
    parser.add_argument("--markdown", type=Path, help="page that is written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
