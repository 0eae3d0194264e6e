"""The command: ``python -m benchmarks.search``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.search import __doc__ as explanation
from benchmarks.search.lrsearch_search import lrsearch
from benchmarks.search.optuna_searches import documented, resident, tutorial_epoch_s
from benchmarks.search.problem import Problem
from benchmarks.search.ray_search import has_ray, ray_tune
from benchmarks.search.runs import CONTESTANTS, Run, RunFile, table
from benchmarks.training.crew import cores
from lrsearch.tasks.files import data_dir

TITLE = "Time to find a good schedule"
CURVES = Path(__file__).parent.parent / "pruning_curves.json"
MARGIN = 1.02
STUDY = "mnist-tpe"
CAP_S, DOCUMENTED_CAP_S = 600.0, 7200.0
TRIALS = 256  # of lrsearch at most: enough to last until the cap is near


def main(arguments: Sequence[str] | None = None) -> None:
    """Run searches, and tell how long all that are known took."""
    options = _parser().parse_args(arguments)
    file = RunFile(options.json)
    for seed in range(options.seeds):
        for name in options.only:
            if name == "ray-tune" and not has_ray():
                print('ray tune is left out: it needs pip install "ray[tune]"', file=sys.stderr)
                continue
            run = timed(name, _problem(options, name, seed))
            file.add(run)
            print(_line(run), file=sys.stderr)
    known = [run for run in file.runs if run.study == options.study]
    found = table(known) if known else "Nothing was timed.\n"
    print(found)
    if options.markdown:
        options.markdown.write_text(f"# {TITLE}\n\n{explanation}\n{found}", encoding="utf-8")


def timed(name: str, problem: Problem) -> Run:
    """Return how long a contestant takes."""
    if name == "optuna-documented":
        return documented(problem, tutorial_epoch_s(problem))
    if name == "optuna-resident":
        return resident(problem)
    return ray_tune(problem) if name == "ray-tune" else lrsearch(problem)


def loss_to_reach(curves: Path = CURVES) -> float:
    """Return a loss 2% above the best final one of the first random search in a file."""
    if not curves.exists():
        raise SystemExit(f"{curves} is missing: run python -m benchmarks.pruning --train, or give --target")
    search = json.loads(curves.read_text(encoding="utf-8"))[0]
    finals = (trial["valid_losses"][-1] for trial in search["trials"])
    return MARGIN * min(float(final) for final in finals if final is not None)


def _line(run: Run) -> str:
    seconds = f"{run.seconds:.1f} s" if run.reached else f"not within {run.cap_s:g} s"
    return f"{run.contestant}, seed {run.seed}: {seconds}, {run.epochs} epochs, best {run.best:.5f}"


def _problem(options: argparse.Namespace, name: str, seed: int) -> Problem:
    cap_s = options.documented_cap_s if name == "optuna-documented" else options.cap_s
    target = options.target or loss_to_reach()
    trials = options.trials if name == "lrsearch" else None
    return Problem(options.study, seed, target, cap_s, options.data_dir or data_dir(), cores(), trials)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=(explanation or "").partition("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=5, help="searches of each; 0 only tells what is known")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--cap-s", type=float, default=CAP_S, help="seconds of a search at most")
    parser.add_argument(
        "--documented-cap-s", type=float, default=DOCUMENTED_CAP_S, help="charged seconds of the replay"
    )
    parser.add_argument("--target", type=float, help="loss to reach, else 2%% above that of a random search")
    parser.add_argument("--study", default=STUDY, help="shipped study that is searched")
    parser.add_argument("--trials", type=int, default=TRIALS, help="budget of lrsearch")
    parser.add_argument("--data-dir", type=Path, help="else LRSEARCH_DATA_DIR, else the user's cache")
    parser.add_argument("--json", type=Path, help="file of all runs, which is added to")
    parser.add_argument("--markdown", type=Path, help="page that is written")
    return parser


if __name__ == "__main__":
    main()
