"""Compares all samplers on one fixed objective, under pruning, as the search uses them.

Run it with: python -m benchmarks.samplers --seeds 100:120 --jobs 2

The objective: kind k in 0..3, each with two knobs in [0, 1], lr in 1e-5..10 on a log scale; true value
0.1 k + (log10 lr + 1.5)^2 + sum (knob - 0.3)^2, which is 0 at best. Epoch e of 10 reports the true value
+ 2 * 0.6^e + N(0, 0.05). A search has 64 trials, one after the other, pruned by ASHA. Its result is the true
value of the trial that looks best: the complete one with the lowest reported value. The grid has 4 learning
rates, the 4 kinds, and 0.25 and 0.75 for each knob. Seeds 0 to 19 served to choose the samplers' constants.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.stats import wilcoxon

from lrsearch.parameters import Choice, Condition, Parameter, Range, SearchSpace
from lrsearch.search.pruners import create_pruner
from lrsearch.search.samplers import SAMPLERS, create_sampler
from lrsearch.search.space import suggest

TRIALS = 64
EPOCHS = 10
NOISE = 0.05
BASELINE = "random"
REPORT_SEEDS = "100:120"


@dataclass(frozen=True)
class Found:
    """What a search ended with.

    Args:
        true: noiseless value of the trial that looks best.
        reported: value that this trial reported.
    """

    true: float
    reported: float


Search = Callable[[str, int], Found]
"""Runs a search with the sampler of a name and a seed."""


def objective_space(lr: Range, knob: Range | Choice) -> SearchSpace:
    """Return the objective's space."""
    names = product(range(4), ("first", "second"))
    knobs = (Parameter(f"{kind}.{name}", knob, Condition("kind", frozenset({kind}))) for kind, name in names)
    return SearchSpace((Parameter("lr", lr), Parameter("kind", Choice((0, 1, 2, 3))), *knobs))


SPACE = objective_space(Range(1e-5, 10.0, log=True), Range(0.0, 1.0))
GRID_SPACE = objective_space(
    Range(1e-5, 10.0, log=True, points=4), Choice((0.25, 0.75))
)  # 4 x 4 x 2 x 2 = 64


def true_value(point: Mapping[str, Any]) -> float:
    """Return the noiseless value of a point."""
    knobs = (value for name, value in point.items() if "." in name)
    lr = (math.log10(point["lr"]) + 1.5) ** 2
    return float(0.1 * point["kind"] + lr + sum((knob - 0.3) ** 2 for knob in knobs))


def reports(point: Mapping[str, Any], seed: int, trial: int) -> Sequence[float]:
    """Return what a trial reports at epochs 1 to 10; its noise depends on seed and trial alone."""
    epochs = np.arange(1, EPOCHS + 1)
    noise = np.random.default_rng([seed, trial, 1]).normal(0, NOISE, EPOCHS)
    return [float(value) for value in true_value(point) + 2 * 0.6**epochs + noise]


def search(name: str, seed: int) -> Found:
    """Return what a search with a sampler finds; a fresh sampler proposes each trial."""
    space = GRID_SPACE if name == "grid" else SPACE
    study = optuna.create_study()
    losses: dict[int, dict[int, float]] = {}
    for index in range(TRIALS):
        study.sampler = create_sampler(name, space, seed=seed, index=index, n_trials=TRIALS)
        trial = study.ask()
        point = suggest(trial, space)
        state = train(trial, reports(point, seed, index), losses)
        study.tell(trial, losses[index][EPOCHS] if state is optuna.trial.TrialState.COMPLETE else None, state)
    return Found(true_value(study.best_trial.params), study.best_value)


def train(
    trial: optuna.Trial, values: Sequence[float], losses: dict[int, dict[int, float]]
) -> optuna.trial.TrialState:
    """Report values epoch by epoch until ASHA stops the trial, and return how it ended."""
    pruner = create_pruner("asha", EPOCHS, TRIALS, largest_warmup_fraction=0.0)
    curve = losses[trial.number] = {}
    for epoch, value in enumerate(values, start=1):
        curve[epoch] = value
        trial.report(value, epoch)
        if epoch < EPOCHS and pruner.decide(losses, {trial.number}):
            return optuna.trial.TrialState.PRUNED
    return optuna.trial.TrialState.COMPLETE


def compare(search: Search, names: Sequence[str], seeds: Sequence[int], jobs: int) -> dict[str, list[Found]]:
    """Return what each sampler found, by seed."""
    pairs = list(product(names, seeds))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_silence) as pool:
        found = list(pool.map(search, *zip(*pairs, strict=True), chunksize=1))
    return {name: found[i * len(seeds) : (i + 1) * len(seeds)] for i, name in enumerate(names)}


def p_value(found: Iterable[Found], baseline: Iterable[Found]) -> float:
    """Return the one-sided Wilcoxon p of finding smaller true values than the baseline, paired by seed."""
    pairs = zip(found, baseline, strict=True)
    return float(wilcoxon([one.true - other.true for one, other in pairs], alternative="less").pvalue)


def markdown(results: Mapping[str, Sequence[Found]], seeds: Sequence[int]) -> str:
    """Return the table of results, the best mean first."""
    lines = [
        f"Seeds {seeds[0]} to {seeds[-1]}.",
        "",
        "| sampler | mean | median | standard error | mean as reported | p against random |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in sorted(results, key=lambda each: float(np.mean([found.true for found in results[each]]))):
        true = np.array([found.true for found in results[name]])
        reported = np.mean([found.reported for found in results[name]])
        error = true.std(ddof=1) / math.sqrt(len(true))
        p = "" if name == BASELINE else f"{p_value(results[name], results[BASELINE]):.2g}"
        lines.append(
            f"| {name} | {true.mean():.3f} | {np.median(true):.3f} | {error:.3f} | {reported:.3f} | {p} |"
        )
    return "\n".join(lines) + "\n"


def _silence() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _seeds(text: str) -> range:
    first, last = text.split(":")
    return range(int(first), int(last))


def comparison(
    search: Search,
    samplers: Sequence[str],
    seeds: str,
    title: str,
    description: str,
    arguments: Sequence[str] | None,
) -> None:
    """Compare samplers as the command line asks for, print the table, and write it if asked to.

    Args:
        search: runs one search.
        samplers: that can be compared.
        seeds: of the report, unless told otherwise.
        title: of the page that is written.
        description: what is compared and how.
        arguments: of the command line; None takes this process's.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--seeds", type=_seeds, default=_seeds(seeds), help=f"first:end, such as {seeds}")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--samplers", nargs="+", choices=samplers, default=list(samplers))
    parser.add_argument("--markdown", type=Path, help="file that the table is written to")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys([*options.samplers, BASELINE]))
    table = markdown(compare(search, names, options.seeds, options.jobs), options.seeds)
    print(table)
    if options.markdown:
        options.markdown.write_text(f"# {title}\n\n{description}\n{table}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the samplers on the formula."""
    comparison(search, SAMPLERS, REPORT_SEEDS, "Samplers compared", __doc__ or "", arguments)


if __name__ == "__main__":
    main()
