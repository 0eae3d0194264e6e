"""Measures what a report of a large study costs: seconds to write it, and megabytes.

Run it with: python -m benchmarks.report --trials 1000 --epochs 25

A trainer without training fills a study in a temporary database, its losses made up: a random search over
the usual seven kinds of schedule, pruned. Then ``lrsearch report`` runs in a process of its own, as a user
runs it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study import LANES, IdleArray
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import StudySpec, spec_from
from lrsearch.storage.database import open_database

NAME = "large"


@dataclass(frozen=True)
class ReportCost:
    """What the report of a study costs.

    Args:
        trials: of the study.
        epochs: of a whole trial.
        seconds: from the command's start to its end.
        megabytes: size of the file.
    """

    trials: int
    epochs: int
    seconds: float
    megabytes: float


def study_spec(trials: int, epochs: int) -> StudySpec:
    """Return the specification of the study that is reported."""
    content = {
        "name": NAME,
        "task": "digits-mlp",
        "trials": trials,
        "epochs": epochs,
        "sampler": "random",
        "optimizer": {"name": "SGD", "momentum": {"low": 0.0, "high": 0.95}},
    }
    return resolved(spec_from(content, "benchmark"))


def fill(url: str, spec: StudySpec) -> None:
    """Make a study whose trials have all ended."""
    with open_database(url) as database:
        for _progress in Search(database, open_study(database, spec), IdleArray(), LANES).run():
            pass


def measure(trials: int, epochs: int) -> ReportCost:
    """Return what the report of a study of so many trials costs."""
    with tempfile.TemporaryDirectory() as folder:
        url, page = f"sqlite:///{folder}/study.db", Path(folder) / "report.html"
        fill(url, study_spec(trials, epochs))
        command = [sys.executable, "-m", "lrsearch", "report", NAME, "-o", str(page), "--storage", url]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return ReportCost(trials, epochs, time.perf_counter() - begun, page.stat().st_size / 1e6)


def markdown(costs: Sequence[ReportCost]) -> str:
    """Return the table of costs."""
    lines = ["| trials | epochs | seconds | megabytes |", "| ---: | ---: | ---: | ---: |"]
    lines += [f"| {c.trials} | {c.epochs} | {c.seconds:.1f} | {c.megabytes:.1f} |" for c in costs]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1000], help="of each study")
    parser.add_argument("--epochs", type=int, default=25, help="of a whole trial")
    options = parser.parse_args(arguments)
    print(markdown([measure(trials, options.epochs) for trials in options.trials]))


if __name__ == "__main__":
    main()
