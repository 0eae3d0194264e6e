"""Compares the samplers on real training: ``digits-mlp``, 40 trials of up to 20 epochs, pruned by ASHA.

Run it with: python -m benchmarks.digits --seeds 100:110 --jobs 2

The study is ``studies/digits-tpe.toml`` without first trials, which would be the same for all. The result of
a search is the validation loss of its best trial: what a user sees. Grid and coarse-to-fine need spaces of
their own and are left out.
"""

import logging
import tempfile
from collections.abc import Sequence

import optuna
import torch

from benchmarks.samplers import Found, comparison
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.studies import open_study, resolved
from lrsearch.service.tasks import find_task
from lrsearch.spec import read_spec
from lrsearch.spec.shipped import shipped_studies
from lrsearch.storage.database import open_database

SAMPLERS = ("random", "tpe", "quasi-random", "genetic", "particle-swarm")


def search(name: str, seed: int) -> Found:
    """Return the best validation loss that a search with a sampler finds."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(logging.WARNING)
    changes = {"sampler": name, "seed": seed, "first_trials": False}
    spec = resolved(read_spec(shipped_studies()["digits-tpe"], changes))
    task = find_task(spec)
    data = load_onto_device(spec, task)
    with tempfile.TemporaryDirectory() as folder, open_database(f"sqlite:///{folder}/digits.db") as database:
        *_, last = prepare(database, spec, task, data, lambda: open_study(database, spec)).run()
    if last.best is None or last.best.result.value is None:
        raise RuntimeError(f"no trial of {name} with seed {seed} is complete")
    return Found(last.best.result.value, last.best.result.value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the samplers on the digits."""
    comparison(search, SAMPLERS, "100:110", "Samplers compared on the digits", __doc__ or "", arguments)


if __name__ == "__main__":
    main()
