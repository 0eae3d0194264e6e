"""The training benchmark measures what it says, here on a fraction of its work."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.training import contestants, tables
from benchmarks.training.__main__ import main, read_report
from benchmarks.training.contestants import Contestant
from benchmarks.training.end_to_end import Setting, end_to_end
from benchmarks.training.floor import Floor, step_operations
from benchmarks.training.measurement import Figure, NetResult
from benchmarks.training.mnist import NETS, load_net
from benchmarks.training.tutorial import conversion
from lrsearch.results import EpochResult
from lrsearch.tasks import load_task
from lrsearch.tasks.classification import Normalization
from lrsearch.tasks.models import lenet, perceptron

ROOT = Path(__file__).parent.parent
QUICK = ("--nets", "mnist-mlp", "--lanes", "1", "16", "--quick")
BLOCKED = (
    "pydantic optuna sqlalchemy alembic typer rich tomlkit plotly matplotlib pandas sklearn scipy "
    "torchvision filelock platformdirs tqdm"
)
SITE = f"""
import sys
from importlib.machinery import PathFinder

class Others:
    def find_spec(self, name, path=None, target=None):
        missing = name.partition(".")[0] in {BLOCKED.split()!r}
        return None if missing else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Others()
"""


@pytest.mark.slow
def test_the_benchmark_prints_the_table_that_it_stores(tmp_path, capsys):
    """All contestants of the small net on random images; the stored figures give the same page."""
    stored, page = tmp_path / "figures.json", tmp_path / "page.md"
    main([*QUICK, "--data-dir", str(tmp_path), "--json", str(stored), "--markdown", str(page)])
    printed = capsys.readouterr().out
    assert "random images" in printed
    for name in tables.NAMES.values():
        assert f"| {name} |" in printed
    assert read_report(stored).markdown() == printed[:-1]
    assert printed[:-1] in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_is_measured_with_pytorch_numpy_and_psutil_alone(tmp_path):
    """None of lrsearch's other dependencies can be imported, neither here nor in the started processes."""
    (tmp_path / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    environment.pop("LRSEARCH_DATA_DIR", None)
    command = [sys.executable, "-m", "benchmarks.training", *QUICK, "--lanes", "16"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert "of our own" in ended.stdout
    assert "| mnist-mlp: over PyTorch, lockstep |" in ended.stdout


@pytest.mark.slow
def test_a_search_and_its_bare_arrays_train_the_same_epochs(tmp_path):
    """Two workers, eight trials of the digits."""
    run = end_to_end(Setting("digits-tpe", 8, 2, 2, tmp_path, epochs=4), seed=0)
    assert run.trials == 8
    assert 8 <= run.trial_epochs <= 32
    assert 0 < run.training_seconds < run.seconds
    assert run.bare_rate > 0


def test_the_own_conversion_of_images_is_torchvisions(monkeypatch):
    """Bit for bit, so that a machine without torchvision does the same work."""
    normalization = Normalization(white=255, mean=0.1307, std=0.3081)
    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    to_image, theirs, _words = conversion(normalization)
    monkeypatch.setattr("benchmarks.training.tutorial.import_torchvision", _missing)
    _to_image, own, words = conversion(normalization)
    assert "of our own" in words
    torch.testing.assert_close(own(to_image(image)), theirs(to_image(image)), rtol=0, atol=0)


def _missing():
    raise ImportError


def test_arithmetic_is_counted_without_the_gradient_by_the_images():
    """Two products for the first layer, three for each other, of two operations per weight and position."""
    inputs = torch.zeros(32, 1, 28, 28)
    products = 2 * 784 * 64 + 3 * 64 * 32 + 3 * 32 * 10
    assert step_operations(perceptron(784, 64, 32, 10), inputs) == 2 * 32 * products
    convolutions = 2 * 25 * 6 * 28 * 28 + 3 * 6 * 25 * 16 * 10 * 10
    dense = 3 * (400 * 120 + 120 * 84 + 84 * 10)
    assert step_operations(lenet(), inputs) == 2 * 32 * (convolutions + dense)


class _Epochs:
    """An array that counts the epochs of its trials, and trains nothing."""

    steps_per_epoch = 7

    def __init__(self):
        self.trained = {}

    def start(self, trial, hyperparameters):
        assert hyperparameters.lr == 0.1
        self.trained[trial] = 0

    def run_epoch(self):
        self.trained = {trial: epochs + 1 for trial, epochs in self.trained.items()}
        return [EpochResult(trial, epochs, 1.0, 1.0, {}, 0.1, 0.0) for trial, epochs in self.trained.items()]

    def drop(self, trials):
        for trial in trials:
            del self.trained[trial]


def test_mixed_lanes_stand_at_all_epochs_of_a_run_and_stay_so():
    """Twenty lanes, two at each of ten epochs, however long they train; ended trials are replaced."""
    array = _Epochs()
    train = contestants._epochs(array, Contestant("fused", lanes=20, mixed=True))
    for _ in range(25):
        assert train() == 20 * array.steps_per_epoch
        assert sorted(array.trained.values()) == sorted([*range(1, 11), *range(1, 11)])


def test_lockstep_lanes_start_anew_together():
    """Four lanes reach epoch 10 and begin again at 1."""
    array = _Epochs()
    train = contestants._epochs(array, Contestant("fused", lanes=4))
    for epoch in [*range(1, 11), *range(1, 6)]:
        train()
        assert list(array.trained.values()) == [epoch] * 4


def test_rates_of_processes_are_added_and_goals_judged():
    """Two processes with 1,000 steps a second together take 2 ms each; 5 times meets the goal of 4.3."""
    chosen = Contestant("fused", lanes=16, every_core=True)
    ordinary = Contestant("ordinary", every_core=True)
    figures = [Figure(ordinary, 2, [900.0, 1000.0, 5000.0], shares=[0.5]), Figure(chosen, 2, [5000.0])]
    figures.append(Figure(replace(chosen, mixed=True), 2, [3000.0]))
    result = NetResult("mnist-mlp", chosen, Floor(6e6, 6e5, None), figures, [4e9])
    assert figures[0].step_ms == 2
    assert result.floor_ms == pytest.approx(3)
    goals = {goal.words: goal.row() for goal in tables.goals([result])}
    assert goals["mnist-mlp: over PyTorch, lockstep"].endswith("| at least 4.3 | 5 | met |")
    assert goals["mnist-mlp: over PyTorch, mixed epochs"].endswith("| at least 3.2 | 3 | missed |")
    assert len(goals) == 2


@pytest.mark.parametrize("net", NETS)
def test_nets_are_those_of_the_shipped_tasks(net, tmp_path):
    """The same modules, normalization and batch size under the same name."""
    own, shipped = load_net(net, tmp_path), load_task(net, tmp_path)
    assert str(own.build_model()) == str(shipped.build_model())
    assert (own.normalization, own.batch_size) == (shipped.normalization, shipped.batch_size)


def test_images_are_random_where_mnist_is_not(tmp_path):
    """They have MNIST's size, and training leaves validation next to nothing."""
    splits = load_net("mnist-mlp", tmp_path).splits()
    assert splits.train.inputs.shape == (50_000, 28, 28)
    assert splits.train.inputs.dtype == torch.uint8
    assert 0.15 < float((splits.train.inputs > 0).float().mean()) < 0.25
    assert len(splits.valid) == 32
