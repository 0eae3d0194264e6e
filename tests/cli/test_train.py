"""``lrsearch train``: the winner's weights and history in files, its figures on the test split printed."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lrsearch.retrainings import Candidate, Retraining, Run
from lrsearch.schedules import Hyperparameters
from lrsearch.storage.database import open_database
from lrsearch.storage.retrainings import key_of, record_confirmation, record_retrainings
from lrsearch.storage.studies import find_study
from lrsearch.tasks import load_task
from lrsearch.training.data import ResidentData
from lrsearch.training.eager import build_model, evaluate, validate
from tests.cli.commands import lrsearch, refused, succeed

CPU = torch.device("cpu")


def history(folder):
    """Return the rows of a history."""
    with Path(folder, "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_weights_and_history_are_those_of_the_trial(finished, tmp_path):
    """The stored curve again; the weights give the losses that were printed, the test split's too."""
    outcome = succeed("train", finished, "--output", "trained/new")
    rows, [best] = history("trained/new"), succeed("best", finished, "--format", "json").json
    curve = [
        row for row in succeed("curves", finished, "--format", "json").json if row["trial"] == best["number"]
    ]
    assert list(rows[0]) == ["epoch", "train_loss", "valid_loss", "metrics.valid_accuracy", "lr"]
    for mine, searched in zip(rows, curve, strict=True):
        for name in ("epoch", "train_loss", "valid_loss", "lr"):
            assert float(mine[name]) == pytest.approx(searched[name], rel=1e-4)
    task = load_task("digits-mlp", tmp_path)
    data, model = ResidentData(task, 32, CPU), build_model(task, 0, CPU)
    model.load_state_dict(load_file("trained/new/weights.safetensors"))
    loss, metrics = validate(task, model, data, 0)
    assert loss == pytest.approx(float(rows[-1]["valid_loss"]), rel=1e-5)
    test = evaluate(task, model, data.test(), CPU, 0)
    assert (
        f"Validation loss after 2 epochs: {loss:.4g}, valid_accuracy {metrics['valid_accuracy']:.4g}\n"
        in outcome.out
    )
    assert f"Test split: loss {test['loss']:.4g}, accuracy {test['accuracy']:.4g}\n" in outcome.out
    assert f"Training trial {best['number']} for 2 epochs." in outcome.err


def test_a_longer_run_of_another_seed_is_trained(finished):
    """Of a trial of the user's choice, with a word on what is not proven."""
    outcome = succeed("train", finished, "-o", "long", "--epochs", "3", "--seed", "5", "--trial", "0")
    assert len(history("long")) == 3
    assert "that its winner is best for 3 is not proven" in outcome.err
    succeed("train", finished, "-o", "other", "--epochs", "3", "--trial", "0")
    assert history("long") != history("other")


def test_files_that_exist_are_kept(finished):
    """Unless they may be overwritten."""
    Path("kept").mkdir()
    Path("kept/history.csv").write_text("mine")
    assert "--force" in refused("train", finished, "--output", "kept")
    assert Path("kept/history.csv").read_text() == "mine"
    assert not Path("kept/weights.safetensors").exists()
    succeed("train", finished, "--output", "kept", "--force")
    assert len(history("kept")) == 2
    refused("train", "no-such-study", "--output", "unused")
    assert not Path("unused").exists()
    assert "cannot be made" in refused("train", finished, "--output", "kept/history.csv/below")


def test_a_training_that_diverges_leaves_no_weights(finished):
    """Here of a baseline that was confirmed elsewhere; it says where it ended."""
    with open_database() as database:
        uuid = find_study(database, finished).uuid
        hot = Candidate("a hot one", Hyperparameters(1e6).to_point())
        runs = {
            key_of(Run(hot.point, seed, 2, test=True)): Retraining(hot.point, seed, 2, (0.1, 0.1))
            for seed in (1, 2)
        }
        record_retrainings(database, uuid, runs)
        record_confirmation(database, uuid, [hot], (1, 2), 2, ())
    outcome = lrsearch("train", finished, "--output", "hot")
    assert outcome.code == 1
    assert "Error: the training diverged in epoch 1 of 2" in outcome.err
    assert "Traceback" not in outcome.err
    assert list(Path("hot").iterdir()) == []


def test_a_task_without_a_test_split_prints_no_test_figures():
    """Buffers and weights that are shared are stored all the same; the user's code must be allowed."""
    Path("net.py").write_text(
        "import torch, lrsearch\n"
        "x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.norm = torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)\n"
        "        self.b = torch.nn.Linear(3, 3)\n"
        "        self.b.weight = self.a.weight\n"
        "    def forward(self, x):\n"
        "        return self.b(self.norm(self.a(x)))\n"
        "task = lrsearch.Task.from_tensors(\n"
        "    Net, (x, x), (x, x), loss=torch.nn.functional.mse_loss, epochs=2)\n"
    )
    succeed("optimize", "--task", "net.py:task", "--trials", "2")
    assert "--allow-task net.py:task" in refused("train", "net", "--output", "t")
    outcome = succeed("train", "net", "--output", "t", "--allow-task", "net.py:task")
    assert "Test split" not in outcome.out
    stored = load_file("t/weights.safetensors")
    assert torch.equal(stored["a.weight"], stored["b.weight"])
    assert stored["norm.num_batches_tracked"] == 4


def test_what_cannot_be_stored_is_refused_before_it_is_trained():
    """With the rule."""
    Path("net.py").write_text(
        "import torch, lrsearch\n"
        "x = torch.randn(64, 3)\n"
        "class Net(torch.nn.Linear):\n"
        "    def get_extra_state(self):\n"
        "        return 'a text'\n"
        "    def set_extra_state(self, state):\n"
        "        pass\n"
        "task = lrsearch.Task.from_tensors(\n"
        "    lambda: Net(3, 3), (x, x), (x, x), loss=torch.nn.functional.mse_loss, epochs=2)\n"
    )
    succeed("optimize", "--task", "net.py:task", "--trials", "2")
    outcome = lrsearch("train", "net", "--output", "t", "--allow-task", "net.py:task")
    assert outcome.code == 2
    assert "get_extra_state" in outcome.err
    assert "Training trial" not in outcome.err
