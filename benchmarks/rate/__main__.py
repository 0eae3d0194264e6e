"""The command: ``python -m benchmarks.rate``."""

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import optuna

from benchmarks import postgresql
from benchmarks.rate import __doc__ as explanation
from benchmarks.rate.contestants import CONTESTANTS, SAMPLERS
from benchmarks.rate.measurement import measure, table

TITLE = "Trials per second of many workers"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = _parser().parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    contestants = [each for each in CONTESTANTS if each.name in options.only]
    rates = []
    for _round in range(options.rounds):
        for sampler, workers, contestant in product(options.sampler, options.workers, contestants):
            with postgresql.server() as server:
                rate = measure(contestant, sampler, workers, server, options.warm_up_s, options.seconds)
            rates.append(rate)
            print(f"{rate.contestant}, {sampler}, {workers}: {rate.per_s:.1f} per second", file=sys.stderr)
    found = table(rates)
    print(found)
    if options.markdown:
        options.markdown.write_text(f"# {TITLE}\n\n{explanation}\n{found}", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rate", description=(explanation or "").partition("\n")[0]
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
