"""How many lanes an array gets."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrsearch.schedules import Hyperparameters
from lrsearch.training.data import load_data
from lrsearch.training.fused.array import FusedArray
from lrsearch.training.fused.sizing import CPU_BYTES, CPU_LANES, cpu_lanes, doubled_while_worthwhile
from lrsearch.training.trainer import TrialSettings, create_trainer
from tests.training.fused.arrays import CLASSES, CPU, FEATURES, Blobs
from tests.training.fused.test_parity import Residual

SETTINGS = TrialSettings(3, "SGD", 0, Hyperparameters(0.1))


@given(st.integers(1, 5_000_000))
def test_lanes_on_a_core_are_a_power_of_two_that_stays_in_the_cache(parameters):
    """The parameters of all lanes fit, and twice as many would not, or are more than help."""
    with torch.device("meta"):
        model = nn.ParameterList([nn.Parameter(torch.empty(parameters))])
    lanes = cpu_lanes(model)
    assert lanes in {1, 2, 4, 8, 16}
    assert lanes == 1 or lanes * parameters * 4 <= CPU_BYTES
    assert lanes == CPU_LANES or 2 * lanes * parameters * 4 > CPU_BYTES


@pytest.mark.parametrize(
    ("seconds", "at_most", "lanes"),
    [
        (lambda _lanes: 1.0, 1024, 1024),
        (lambda _lanes: 1.0, 100, 64),
        (float, 1024, 1),
        (lambda lanes: max(1.0, lanes / 8), 1024, 8),
        (lambda lanes: 1.0 if lanes <= 16 else None, 1024, 16),
        (lambda _lanes: None, 1024, 1),
    ],
    ids=["free", "limit", "linear", "saturating", "memory", "nothing-fits"],
)
def test_lanes_double_while_a_trial_gets_cheaper(seconds, at_most, lanes):
    """Doubling stops at the limit, where memory ends, and where it no longer pays."""
    assert doubled_while_worthwhile(seconds, at_most) == lanes


def test_the_caller_limits_what_is_chosen_and_not_what_is_asked_for():
    """A sampler needs rounds; a user knows what he wants."""
    task = Blobs()
    data = load_data(task, task.batch_size, CPU)
    assert create_trainer(task, data, SETTINGS, lanes=None, at_most=5).lanes == 5
    assert create_trainer(task, data, SETTINGS, lanes=None, at_most=100).lanes == CPU_LANES
    assert create_trainer(task, data, SETTINGS, lanes=7, at_most=5).lanes == 7
    residual = create_trainer(Blobs(Residual), data, SETTINGS, lanes=None, at_most=1)
    assert residual.reason == "the budget allows each worker one at a time"


def test_a_model_that_fills_the_device_trains_alone():
    """Weights that leave no room for a second lane are not stacked."""

    class Large(Residual):
        def __init__(self):
            super().__init__()
            self.wide = nn.Parameter(torch.zeros(3_000_000))

        def forward(self, inputs):
            return super().forward(inputs) + self.wide.mean()

    task = Blobs(Large)
    data = load_data(task, task.batch_size, CPU)
    trainer = create_trainer(task, data, SETTINGS, lanes=None, at_most=8)
    assert "fills the device by itself" in trainer.reason


def test_fusing_that_does_not_pay_is_left_out(monkeypatch):
    """Where a few timed steps show no gain, trials train one by one, and the reason says how slow it was."""
    monkeypatch.setattr("lrsearch.training.trainer.fusing_gain", lambda *_arguments: 0.5)
    task = Blobs(Residual)
    data = load_data(task, task.batch_size, CPU)
    trainer = create_trainer(task, data, SETTINGS, lanes=None, at_most=8)
    assert trainer.reason.startswith(
        "8 models in one step, timed just now, took 2.0 times as long as one by one"
    )
    monkeypatch.setattr("lrsearch.training.trainer.fusing_gain", lambda *_arguments: 1.5)
    assert isinstance(create_trainer(task, data, SETTINGS, lanes=None, at_most=8).array, FusedArray)


def test_a_trial_without_a_free_lane_is_refused():
    """An array holds as many trials as it has lanes."""
    task = Blobs(lambda: nn.Linear(FEATURES, CLASSES))
    data = load_data(task, task.batch_size, CPU)
    array = create_trainer(task, data, SETTINGS, lanes=1, at_most=1).array
    array.start(0, Hyperparameters(0.1))
    with pytest.raises(ValueError, match="all 1 lanes are taken"):
        array.start(1, Hyperparameters(0.1))
