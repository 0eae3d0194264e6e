"""What a trial-step needs at least: arithmetic, and on a GPU the traffic of the parameters."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.training.contestants import Training
from benchmarks.training.mnist import BATCH_SIZE

PRODUCT_SIZE = 2048
COPIED_BYTES = 2**30
TRAFFIC_PER_PARAMETER = 3  # read in the forward pass, read and written in the update


@dataclass(frozen=True)
class Floor:
    """What a trial-step needs at least.

    Args:
        operations: multiplications and additions of forward pass and gradients; that by the images is not
            needed and not counted.
        traffic_bytes: of the parameters, which do not fit into a GPU's cache for many lanes.
        bytes_per_second: rate of a large copy on the device, read and written; None on a CPU.
    """

    operations: float
    traffic_bytes: float
    bytes_per_second: float | None


def floor_of(training: Training) -> Floor:
    """Return the floor of a net."""
    model = training.model()
    bytes_ = sum(parameter.nbytes for parameter in model.parameters())
    device = training.data.device
    return Floor(
        step_operations(model, training.task.prepare(training.data.train.inputs[:BATCH_SIZE])),
        TRAFFIC_PER_PARAMETER * bytes_,
        _copy_rate(device) if device.type == "cuda" else None,
    )


@torch.no_grad()
def step_operations(model: nn.Module, inputs: torch.Tensor) -> float:
    """Return the operations of forward pass and gradients of the linear and convolutional layers.

    Args:
        model: whose layers are called in the order of its modules.
        inputs: a batch.
    """
    products: list[float] = []

    def count(module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        positions = output.numel() // weight.shape[0]
        products.append(2.0 * weight.numel() * positions)

    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model(inputs)
    for hook in hooks:
        hook.remove()
    return 2 * products[0] + 3 * sum(products[1:])


def product_rate(
    device: torch.device, seconds: float, wait: Callable[[], object], *, processor_time: bool
) -> float:
    """Return the operations per second of float32 products of two matrices of 2048 x 2048.

    Args:
        device: which multiplies.
        seconds: at least.
        wait: called just before.
        processor_time: whether the processor time is counted, in place of the time on the wall.
    """
    left = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    right, out = torch.randn_like(left), torch.empty_like(left)
    torch.mm(left, right, out=out)
    _finish(device)
    wait()
    products, begun, processor_begun = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - begun) < seconds:
        torch.mm(left, right, out=out)
        _finish(device)
        products += 1
    taken = time.process_time() - processor_begun if processor_time else elapsed
    return 2.0 * PRODUCT_SIZE**3 * products / taken


def _copy_rate(device: torch.device) -> float:
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        _finish(device)
        begun = time.perf_counter()
        target.copy_(source)
        _finish(device)
        times.append(time.perf_counter() - begun)
    return 2 * COPIED_BYTES / min(times)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
