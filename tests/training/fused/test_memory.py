"""Memory that runs out: fewer lanes at once, the same results."""

import logging

import pytest
import torch

from lrsearch.results import LaneFailure
from tests.training.fused.arrays import Blobs, assert_same, eager, fused, point, trained
from tests.training.fused.test_parity import Residual, double_precision  # noqa: F401 # a fixture


def limited(array, lanes, *, from_step=0):
    """Let an array's network run out of memory with more lanes than these, from a step of its life on."""
    network, steps = array._fit.network, iter(range(10**9))
    gradient = network.gradient

    def of_few(parameters, buffers, batches):
        if len(next(iter(parameters.values()))) > lanes and next(steps) >= from_step:
            raise torch.OutOfMemoryError("out of memory")
        return gradient(parameters, buffers, batches)

    network.gradient = of_few
    return array


@pytest.mark.parametrize("model", [None, Residual])
@pytest.mark.parametrize(("lanes", "from_step"), [(2, 0), (1, 30), (4, 5)])
def test_an_array_halves_and_loses_nothing(caplog, model, lanes, from_step):
    """An epoch that runs out of memory, at once or in its midst, is trained anew in parts."""
    task = Blobs(model)
    points = [point(0.05 * (i + 1), momentum=0.5) for i in range(5)]
    array = limited(fused(task, 5, points=points), lanes, from_step=from_step)
    with caplog.at_level(logging.WARNING):
        run = trained(array, points)
    assert_same(run, trained(eager(task), points), rtol=1e-10, atol=1e-10)
    assert "trials are trained at once from now on" in caplog.text


def test_an_error_that_passes_costs_nothing_but_time():
    """A file that could not be read once, in the midst of an epoch, leaves no trace."""
    task, points = Blobs(), [point(0.05, momentum=0.5), point(0.1)]
    array = fused(task, 2, points=points)
    gradient, calls = array._fit.network.gradient, iter(range(10**9))

    def failing(parameters, buffers, batches):
        if next(calls) == 40:
            raise OSError("a network file system was away")
        return gradient(parameters, buffers, batches)

    array._fit.network.gradient = failing
    assert_same(trained(array, points), trained(eager(task), points), rtol=1e-10, atol=1e-10)


def test_a_single_lane_without_memory_fails():
    """There is nothing left to halve: the trials fail, with the reason."""
    points = [point(0.1), point(0.2)]
    array = limited(fused(Blobs(), 2, points=points), 0)
    for trial, hyperparameters in enumerate(points):
        array.start(trial, hyperparameters)
    failures = array.run_epoch()
    assert [type(failure) for failure in failures] == [LaneFailure, LaneFailure]
    assert "out of memory" in failures[0].reason
    assert array.run_epoch() == []
