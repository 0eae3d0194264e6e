"""Trials that two processes train together, as torchrun starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records

ROOT = Path(__file__).parents[2]

HEAD = """
import json
import os
import torch.distributed as dist
import lrsearch

dist.init_process_group("gloo")
"""

LIGHTNING = f"""{HEAD}
import lrsearch.lightning  # before Lightning, which it helps to import torchvision
from tests.adapters.test_lightning import fitted

with lrsearch.trial("ranks.toml") as trial:
    lrs = fitted(trial, accelerator="cpu", devices=2, strategy="ddp").lrs
"""

TRANSFORMERS = f"""{HEAD}
from lrsearch.transformers import attach
from tests.adapters.test_transformers import Rates, trainer

rates = Rates()
with lrsearch.trial("ranks.toml") as trial:
    made = trainer([rates], num_train_epochs=3)
    attach(made, trial)
    made.train()
    lrs = rates.lrs
"""

# Accelerate keeps the process group, whose threads may abort an interpreter that is shutting down
# (pytorch/pytorch#179291): the ranks leave without that.
TAIL = """
with open(f"rank-{dist.get_rank()}.json", "w") as file:
    json.dump([trial.number, trial.hyperparameters.to_point(), lrs], file)
dist.barrier()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [LIGHTNING, TRANSFORMERS], ids=["lightning", "transformers"])
def test_two_processes_train_one_trial_with_half_the_updates(program, storage):
    """Six batches make three updates of two; both have the learning rates of the one schedule."""
    Path("ranks.toml").write_text(
        'task = "external"\ntrials = 1\nepochs = 3\n[space]\nkinds = ["CosineAnnealingLR"]\n'
    )
    Path("ranks.py").write_text(program + TAIL)
    words = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "USE_LIBUV": "0"}
    ran = subprocess.run(
        [*words, "--nproc-per-node", "2", "ranks.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    ranks = [json.loads(Path(f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    number, point, lrs = ranks[0]
    expected = Schedule(Hyperparameters.from_point(point), 3, 3).lrs(np.arange(9, dtype=np.float64))
    assert lrs == pytest.approx(list(expected), rel=1e-9)
    with open_database(storage) as database:
        record = find_study(database, "ranks")
        assert [(each.number, each.state) for each in trial_records(database, record)] == [
            (number, "COMPLETE")
        ]
        assert [each.epoch for each in curves(database, record.uuid)] == [1, 2, 3]
