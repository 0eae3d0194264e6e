"""Whether searched per-layer learning rates help ``examples/fine_tuning.py``, beside one rate for all layers.

Run it with: python -m benchmarks.fine_tuning > docs/fine-tuning-benchmark.md

Both searches have the same budget. A search's own figure is the smallest of many and too good, so each winner
is trained again with weights and batch orders that the search has not seen.
"""

import statistics
import tempfile

import torch
from scipy.stats import wilcoxon

import lrsearch
from examples.fine_tuning import PER_LAYER, task
from lrsearch.schedules import Hyperparameters
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray

SEEDS = range(10)
FRESH_SEEDS = range(1000, 1005)
TRIALS = 40
WAYS = {
    "one rate": None,
    "a factor per layer": PER_LAYER,
    "layer decay": {"layer_decay": {"low": 0.1, "high": 1.0, "log": True}},
    "body frozen": {"body.*": {"frozen": True}},
}


def trained_again(point: Hyperparameters) -> float:
    """Return the mean validation loss of a winner over fresh seeds."""
    data, losses = load_data(task, task.batch_size, torch.device("cpu")), []
    for seed in FRESH_SEEDS:
        array = EagerArray(task, data, epochs=task.epochs, optimizer="Adam", seed=seed)
        array.start(0, point)
        for _epoch in range(task.epochs):
            [result] = array.run_epoch()
        losses.append(result.valid_loss)
    return statistics.mean(losses)


def compared(seed: int, storage: str) -> dict[str, tuple[float, float]]:
    """Return each way's own figure and the one of its winner trained again."""
    figures = {}
    for way, groups in WAYS.items():
        found = lrsearch.optimize(
            task, trials=TRIALS, optimizer="Adam", groups=groups, seed=seed, storage=storage, progress=False
        )
        figures[way] = (found.value, trained_again(found.best))
    return figures


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [compared(seed, f"sqlite:///{folder}/{seed}.db") for seed in SEEDS]
    print("# Fine-tuning: one learning rate, or one per layer\n")
    print(f"Made by `python -m benchmarks.fine_tuning`: {len(SEEDS)} searches of {TRIALS} trials each way. A")
    print("search's own value is the smallest of many; its winner was trained again on")
    print(f"{len(FRESH_SEEDS)} fresh seeds. p: one-sided Wilcoxon of those against one rate, paired by the")
    print("search's seed.\n")
    print("| way | own value, mean | trained again, mean | standard error | p against one rate |")
    print("| --- | ---: | ---: | ---: | ---: |")
    base = [row["one rate"][1] for row in rows]
    for way in WAYS:
        own, again = ([row[way][index] for row in rows] for index in (0, 1))
        error = statistics.stdev(again) / len(again) ** 0.5
        p = "" if again == base else f"{wilcoxon(again, base, alternative='less').pvalue:.2g}"
        print(f"| {way} | {statistics.mean(own):.3f} | {statistics.mean(again):.3f} | {error:.3f} | {p} |")


if __name__ == "__main__":
    main()
