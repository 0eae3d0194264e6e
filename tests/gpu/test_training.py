"""The trainers on a GPU: what a CPU trains in float64, a GPU trains too, as a graph."""

import pytest
import torch
from torch import nn

from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray, Models
from lrsearch.training.fused.array import FusedArray
from lrsearch.training.fused.fitting import Fit, fit
from lrsearch.training.fused.sizing import gpu_lanes
from tests.training.fused.arrays import Blobs, assert_same, eager, perceptron, point, trained, trained_in_turn
from tests.training.fused.test_parity import (
    Normalised,
    Residual,
    double_precision,  # noqa: F401 # a fixture
    dropping,
)

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
SETTINGS = {
    "SGD": [{}, {"momentum": 0.9, "dampening": 0.4}, {"nesterov": True, "momentum": 0.5}],
    "AdamW": [{}, {"beta1": 0.5}, {"amsgrad": True, "weight_decay": 0.1}],
}


def array_on_gpu(task, points, optimizer="SGD", epochs=6):
    """Return a fused array on the GPU."""
    data = load_data(task, task.batch_size, CUDA)
    found = fit(task, data, Models(task, CUDA).build(0), optimizer, points[0])
    assert isinstance(found, Fit), found
    return FusedArray(task, data, found, epochs=epochs, optimizer=optimizer, seed=0, lanes=len(points))


def on_cpu(run):
    """Return a run with its tensors on the CPU."""
    curves, tensors = run
    return curves, {trial: {k: v.cpu() for k, v in each.items()} for trial, each in tensors.items()}


@pytest.mark.parametrize("optimizer", SETTINGS)
@pytest.mark.parametrize("model", [perceptron, Residual, Normalised])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "clip_norm": 0.3}])
def test_lanes_on_a_gpu_equal_trials_on_a_cpu(model, optimizer, settings):
    """Parameters, buffers and losses agree in float64, at mixed epochs, and steps were a graph."""
    task = Blobs(model, **settings)
    points = [point(0.02, **knobs) for knobs in SETTINGS[optimizer]]
    alone = trained(eager(task, optimizer, epochs=6), points, epochs=6)
    array = array_on_gpu(task, points, optimizer)
    assert_same(on_cpu(trained_in_turn(array, points, epochs=6)), alone, rtol=1e-8, atol=1e-9)
    assert array._device_steps._captures


def test_dropout_on_a_gpu_equals_that_of_the_reference_trainer_there():
    """Masks are those of a trial alone; such a model is not captured."""
    task, points = Blobs(dropping), [point(0.05), point(0.1)]
    data = load_data(task, task.batch_size, CUDA)
    alone = EagerArray(task, data, epochs=4, optimizer="SGD", seed=0)
    expected = trained(alone, points, epochs=4)
    assert_same(trained(array_on_gpu(task, points, epochs=4), points, epochs=4), expected, 1e-8, 1e-9)


def test_the_number_of_lanes_is_found_by_timing():
    """A small model gets many lanes."""
    task = Blobs(lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)))
    data = load_data(task, task.batch_size, CUDA)
    model = Models(task, CUDA).build(0)
    found = fit(task, data, model, "SGD", point(0.1))
    assert gpu_lanes(data, found, Models(task, CUDA).build(0)) >= 16


def test_memory_that_really_runs_out_halves_the_array():
    """With little memory left to the process, lanes train in parts, with the same results."""
    wide = lambda: nn.Sequential(nn.Linear(6, 2000), nn.ReLU(), nn.Linear(2000, 3))  # noqa: E731 # a model factory
    task, points = Blobs(wide), [point(0.01 * (i + 1)) for i in range(8)]
    expected = on_cpu(trained(array_on_gpu(task, points, epochs=2), points, epochs=2))
    array = array_on_gpu(task, points, epochs=2)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(CUDA).total_memory
    used = torch.cuda.memory_reserved(CUDA)
    torch.cuda.set_per_process_memory_fraction((used + 2**22) / total)
    try:
        assert_same(on_cpu(trained(array, points, epochs=2)), expected, 1e-8, 1e-9)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
