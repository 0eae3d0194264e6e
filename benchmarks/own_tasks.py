"""What a search finds on three tasks of one's own, beside PyTorch's default learning rate.

    python -m benchmarks.own_tasks > docs/own-tasks-benchmark.md

Every task is a file in ``examples/``; the default is the same optimizer with the learning rate that
``torch.optim`` gives it, constant, for the same epochs, weights and batches.
"""

import ast
import inspect
import tempfile
import time
from importlib import import_module
from pathlib import Path

import torch

import lrsearch
from lrsearch.review.wording import described, number

TASKS = {"regression": "SGD", "convolution": "SGD", "sequence": "Adam"}
TRIALS = 20
EXAMPLES = Path(__file__).parents[1] / "examples"


def default_lr(optimizer: str) -> float:
    """Return the learning rate that PyTorch gives an optimizer."""
    return float(inspect.signature(getattr(torch.optim, optimizer)).parameters["lr"].default)


def lines_for_the_search(path: Path) -> int:
    """Return the lines that serve the search: the task's definition and the call.

    Model and data are not counted, nor what reads the budget from the command line.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    made = [node for node in tree.body if ast.unparse(node).startswith("task = ")]
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    called = [node for node in block.body if not ast.unparse(node).startswith("parser")]
    return sum(node.end_lineno - node.lineno + 1 for node in (*made, *called)) + 2  # import and condition


def searched(name: str, optimizer: str, storage: str) -> tuple[lrsearch.Result, float, float]:
    """Return a search's result, its seconds, and the loss with the default learning rate."""
    task = import_module(f"examples.{name}").task
    started = time.perf_counter()
    result = lrsearch.optimize(task, trials=TRIALS, optimizer=optimizer, storage=storage, progress=False)
    seconds = time.perf_counter() - started
    space = {"lr": default_lr(optimizer), "warmup_fraction": 0.0, "kinds": ["constant"]}
    default = lrsearch.optimize(
        task, trials=1, optimizer=optimizer, space=space, sampler="random", storage=storage, progress=False
    )
    return result, seconds, default.value


def main() -> None:
    """Print the table."""
    print("# Three tasks of one's own\n")
    print("Made by `python -m benchmarks.own_tasks`: one search of 20 trials each, seed 0, one run, on two")
    print(
        "CPU cores; validation loss after the last epoch. The best of 20 is chosen by that loss, so it is a"
    )
    print("little too good; the default had one try.\n")
    print("| example | optimizer | lines | search | PyTorch's default lr | best found | with |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, optimizer in TASKS.items():
            result, seconds, default = searched(name, optimizer, f"sqlite:///{folder}/{name}.db")
            lines = lines_for_the_search(EXAMPLES / f"{name}.py")
            print(
                f"| [{name}](../examples/{name}.py) | {optimizer} | {lines} | {seconds:.0f} s "
                f"| {number(default)} | {number(result.value)} | {described(result.best)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
