"""How many lanes an array has: as many as make a trial's step cheaper, and no more."""

import copy
import time
from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor, nn

from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.task import Batch, Task
from lrsearch.training.data import TrainingData
from lrsearch.training.fused.fitting import Fit, tensors_of
from lrsearch.training.fused.network import Shared
from lrsearch.training.update import training_loss

CPU_LANES = 16  # more gain little, and a sampler proposes the more blindly
CPU_BYTES = 2**22  # of stacked parameters: with momentum and activations they stay in a core's share of cache
GPU_LANES = 1024
WORTHWHILE = 0.9  # doubling must bring the time per lane below this part
TIMED_STEPS = 3
STATE_COPIES = 4  # a parameter, its gradient, and what Adam remembers of it


def cpu_lanes(model: nn.Module) -> int:
    """Return the lanes of an array on one core: from the model's size alone, so that runs can be repeated."""
    size = sum(parameter.nbytes for parameter in model.parameters())
    lanes = 1
    while lanes < CPU_LANES and 2 * lanes * size <= CPU_BYTES:
        lanes *= 2
    return lanes


def gpu_lanes(data: TrainingData, fit: Fit, model: nn.Module) -> int:
    """Return the lanes of an array on a GPU: by doubling while it pays and memory suffices."""
    free, _total = torch.cuda.mem_get_info(data.device)
    size = sum(parameter.nbytes for parameter in model.parameters())
    at_most = max(1, min(GPU_LANES, free // (2 * STATE_COPIES * size)))

    def seconds(lanes: int) -> float | None:
        try:
            return step_seconds(data, fit, model, lanes)
        except torch.OutOfMemoryError:
            return None
        finally:
            torch.cuda.empty_cache()

    return doubled_while_worthwhile(seconds, at_most)


def doubled_while_worthwhile(seconds: Callable[[int], float | None], at_most: int) -> int:
    """Return the number of lanes at which doubling it stops to make a lane's step cheaper.

    Args:
        seconds: time of a step of so many lanes; None if they do not fit into memory.
        at_most: limit.
    """
    lanes, best = 1, seconds(1)
    while best is not None and 2 * lanes <= at_most:
        doubled = seconds(2 * lanes)
        if doubled is None or doubled / 2 > WORTHWHILE * best:
            break
        lanes, best = 2 * lanes, doubled
    return lanes


def fusing_gain(task: Task, data: TrainingData, fit: Fit, model: nn.Module, lanes: int) -> float:
    """Return how often faster a step of lanes together is than in turn, from a few steps of each."""
    return lanes * _seconds_alone(task, data, model) / step_seconds(data, fit, model, lanes)


def step_seconds(data: TrainingData, fit: Fit, model: nn.Module, lanes: int) -> float:
    """Return the time of forward and backward of one step of all lanes: the shortest of a few."""
    parameters, buffers = (
        {name: value.expand(lanes, *value.shape).clone() for name, value in tensors.items()}
        for tensors in tensors_of(model, fit.trained)
    )
    every = slice(0, lanes)
    return _shortest(
        lambda batch: fit.network.gradient(parameters, buffers, [Shared(every, batch)])[1].tensors(), data
    )


def _seconds_alone(task: Task, data: TrainingData, model: nn.Module) -> float:
    model = copy.deepcopy(model)
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(batch: Batch) -> tuple[Tensor, ...]:
        return torch.autograd.grad(training_loss(task, model, batch), parameters, allow_unused=True)

    return _shortest(step, data)


def _shortest(step: Callable[[Batch], object], data: TrainingData) -> float:
    with fixed_randomness(0, data.device):
        found = [update[0] for update in islice(data.updates(0, 0), TIMED_STEPS + 1)]
        batches = (found * (TIMED_STEPS + 1))[: TIMED_STEPS + 1]  # one to warm up with, and some to time
        times = []
        for batch in batches:
            begun = time.perf_counter()
            step(batch)
            if data.device.type == "cuda":
                torch.cuda.synchronize(data.device)
            times.append(time.perf_counter() - begun)
    return min(times)
