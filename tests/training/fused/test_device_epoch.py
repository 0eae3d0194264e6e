"""An epoch that gathers and counts on the device, run here without the graph."""

import pytest
import torch

from lrsearch.training.fused.device_epoch import DeviceSteps
from tests.training.fused.arrays import (
    Blobs,
    assert_same,
    eager,
    fused,
    perceptron,
    point,
    trained,
    trained_in_turn,
)
from tests.training.fused.test_parity import Normalised, Residual, double_precision  # noqa: F401 # a fixture

SETTINGS = {
    "SGD": [
        {},
        {"momentum": 0.9, "dampening": 0.4},
        {"nesterov": True, "momentum": 0.5, "weight_decay": 0.1},
    ],
    "Adam": [{}, {"beta1": 0.5}, {"amsgrad": True, "weight_decay": 0.1}],
}


def squared(outputs, targets):
    """Return a loss that is written out nowhere."""
    return (1 - outputs.softmax(1).gather(1, targets.unsqueeze(1))).square().mean()


@pytest.mark.parametrize("optimizer", SETTINGS)
@pytest.mark.parametrize("model", [perceptron, Residual, Normalised])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "clip_norm": 0.3}, {"loss": squared}])
def test_lanes_equal_trials_alone_at_mixed_epochs(model, optimizer, settings):
    """Batches gathered by a counter on the device train every lane as the reference trainer does."""
    task = Blobs(model, **settings)
    points = [point(0.02, **knobs) for knobs in SETTINGS[optimizer]]
    array = fused(task, 3, optimizer, points=points, epochs=6)
    array._device_steps = DeviceSteps()
    alone = trained(eager(task, optimizer, epochs=6), points, epochs=6)
    assert_same(trained_in_turn(array, points, epochs=6), alone, rtol=1e-9, atol=1e-10)


def test_a_step_is_repeated_as_often_as_asked():
    """The count holds the first step too."""
    calls = []
    DeviceSteps().run(lambda: calls.append(1), 5)
    assert len(calls) == 5


def test_a_counter_on_the_device_reads_the_tables_of_an_epoch():
    """Lanes under a schedule that changes every update get its rates."""
    task, points = Blobs(), [point(0.1, "OneCycleLR"), point(0.2, "LinearLR")]
    array = fused(task, 2, points=points)
    array._device_steps = DeviceSteps()
    assert_same(trained(array, points), trained(eager(task), points), rtol=1e-9, atol=1e-10)
    assert torch.get_default_dtype() == torch.float64
