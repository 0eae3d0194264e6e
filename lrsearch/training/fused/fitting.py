"""Whether a model can be trained as one of many stacked ones, found out by a few updates of both trainers."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch.results import in_one_line
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.randomness import fixed_randomness, random_state
from lrsearch.tasks.task import Batch, Task
from lrsearch.tasks.trees import mapped
from lrsearch.training.data import ResidentData, TrainingData
from lrsearch.training.eager import validation_figures
from lrsearch.training.fused.attributes import attributes, changes
from lrsearch.training.fused.linear_chain import LinearChain
from lrsearch.training.fused.network import Network, Shared
from lrsearch.training.fused.optimizers import FUSED_OPTIMIZERS
from lrsearch.training.fused.vmapped import VmappedModule
from lrsearch.training.groups import parameter_groups
from lrsearch.training.update import training_loss

LANES_TRIED = 2
AMP_TOLERANCE = 5e-2  # in bfloat16, which has eight bits
TOLERANCE = 1e-3  # relative to a tensor's largest element: faults show at once, rounding does not reach it
ROUNDING = 1e-5  # relative to the largest gradient: some are zero but for rounding, as before batch norm
_LOOP = "There is a performance drop"  # torch's warning: an operation that it repeats lane by lane
_NUMBERS = ".item()"  # in torch's message on code that reads numbers out of tensors
_ANY_OTHER = 200  # characters of other messages


@dataclass(frozen=True)
class Fit:
    """How a task's model is trained in lanes.

    Args:
        network: computes losses and gradients.
        trained: names of the trained parameters, in the order of the model.
        random: whether a step draws random numbers, so that lanes at different epochs train in turn.
    """

    network: Network
    trained: tuple[str, ...]
    random: bool


@dataclass(frozen=True)
class Misfit:
    """Why a task's model cannot be trained in lanes, in words."""

    reason: str


@dataclass(frozen=True)
class _Step:
    """What one training step and one validation gave: to compare."""

    loss: Tensor
    gradients: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    figures: Mapping[str, Tensor]


def fit(
    task: Task, data: TrainingData, model: nn.Module, optimizer: str, hyperparameters: Hyperparameters
) -> Fit | Misfit:
    """Return how a model is trained in lanes, or why it cannot be.

    A step of stacked lanes is compared with one of the model alone: loss, gradients, buffers and validation.

    Args:
        task: what is learned.
        data: its data on the training device.
        model: on the device, freshly built; it is used up.
        optimizer: name of a class of ``torch.optim``.
        hyperparameters: any of the study's.
    """
    if optimizer not in FUSED_OPTIMIZERS:
        return Misfit(f"{optimizer} is not among {', '.join(FUSED_OPTIMIZERS)}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=_LOOP)
            return _tried(task, data, model, hyperparameters)
    except Exception as error:  # whatever vectorising a user's code raises
        return Misfit(_worded(error))


def _worded(error: Exception) -> str:
    """Return why vectorising failed."""
    message = in_one_line(error)
    if _NUMBERS in message:
        return "the code reads numbers out of tensors (.item(), or an if on a tensor), which differ by lane"
    if _LOOP in message:
        operation = next((word for word in message.split() if word.startswith("aten::")), "an operation")
        return f"torch.func repeats {operation.rstrip('.')} lane by lane"
    return message if len(message) <= _ANY_OTHER else f"{message[:_ANY_OTHER]}..."


def _tried(
    task: Task, data: TrainingData, model: nn.Module, hyperparameters: Hyperparameters
) -> Fit | Misfit:
    trained = tuple(trained_scales(model, hyperparameters))
    with fixed_randomness(0, data.device):
        batch = next(data.updates(0, 0))[0]
    valid_batch, _count = next(iter(data.validation()))
    reference = _alone(task, copy.deepcopy(model), trained, batch, valid_batch)
    if isinstance(reference, Misfit):
        return reference
    random = _draws(task, data, copy.deepcopy(model))
    reason = ""
    for network in _candidates(task, data, model, trained):
        step = _stacked(network, model, trained, batch, valid_batch, data.device)
        reason = _difference(reference, step, AMP_TOLERANCE if task.amp else TOLERANCE)
        if not reason:
            return Fit(network, trained, random)
    return Misfit(f"trained in lanes it gives {reason} than alone")


def trained_scales(model: nn.Module, hyperparameters: Hyperparameters) -> dict[str, float]:
    """Return the factor on lr of every trained parameter by name, in the order of the model."""
    scales = {
        id(parameter): group["lr_scale"]
        for group in parameter_groups(model, hyperparameters)
        for parameter in group["params"]
    }
    return {name: scales[id(p)] for name, p in model.named_parameters() if id(p) in scales}


def tensors_of(model: nn.Module, trained: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a model's trained parameters, in the order given, and all its other tensors, by name."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    rest = {name: value for name, value in parameters.items() if name not in trained}
    return {name: parameters[name] for name in trained}, {**rest, **dict(model.named_buffers())}


def _candidates(
    task: Task, data: TrainingData, model: nn.Module, trained: Sequence[str]
) -> Iterator[Network]:
    chain = LinearChain.of(task, model, trained, class_numbers=_has_class_numbers(data))
    if chain is not None:
        yield chain
    yield VmappedModule(task, model)


def _has_class_numbers(data: TrainingData) -> bool:
    """Return whether all targets are known to be class numbers, none of them to be ignored."""
    targets = data.train.targets if isinstance(data, ResidentData) else None
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.ndim != 1:
        return False
    return bool((targets >= 0).all())


def _alone(
    task: Task, model: nn.Module, trained: Sequence[str], batch: Batch, valid_batch: Batch
) -> _Step | Misfit:
    """Return a step of a model alone; what it does that lanes cannot is a misfit."""
    before = attributes(task, model)
    with fixed_randomness(1, _device(model)):
        model.train()
        loss = training_loss(task, model, own(batch))
        parameters = dict(model.named_parameters())
        gradients = torch.autograd.grad(loss, [parameters[name] for name in trained], allow_unused=True)
    changed = changes(before, attributes(task, model))
    if changed:
        return Misfit(f"a training step changes {changed[0]}, which lanes would share")
    idle = [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]
    if idle:
        return Misfit(f"{idle[0]} takes no part in the loss, so that its optimizer leaves it alone")
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad(), fixed_randomness(2, _device(model)):
        model.eval()
        figures = validation_figures(task, model, own(valid_batch))
    return _Step(loss.detach(), dict(zip(trained, gradients, strict=True)), buffers, figures)


def _stacked(
    network: Network,
    model: nn.Module,
    trained: Sequence[str],
    batch: Batch,
    valid_batch: Batch,
    device: torch.device,
) -> _Step:
    """Return a step of the last of several equal lanes, each with a batch of its own, and together."""
    parameters, buffers = (
        {name: value.expand(LANES_TRIED, *value.shape).clone() for name, value in tensors.items()}
        for tensors in tensors_of(model, trained)
    )
    last = LANES_TRIED - 1
    apart = [Shared(slice(lane, lane + 1), own(batch)) for lane in range(LANES_TRIED)]
    with fixed_randomness(1, device):
        network.gradient(parameters, {name: value.clone() for name, value in buffers.items()}, apart)
    with fixed_randomness(1, device):
        losses, gradient = network.gradient(parameters, buffers, [Shared(slice(0, LANES_TRIED), own(batch))])
    gradients = {name: value[last] for name, value in zip(trained, gradient.tensors(), strict=True)}
    with fixed_randomness(2, device):
        figures = network.figures(parameters, buffers, own(valid_batch))
    changed = {name: value[last] for name, value in buffers.items()}
    return _Step(losses[last], gradients, changed, {name: value[last] for name, value in figures.items()})


def _difference(alone: _Step, stacked: _Step, tolerance: float) -> str:
    """Return what differs, in words; empty if nothing does."""
    if not _close(alone.loss, stacked.loss, tolerance):
        return "another loss"
    rounding = ROUNDING * max(_size(value) for value in alone.gradients.values())
    for name, value in alone.gradients.items():
        if not _close(value, stacked.gradients[name], tolerance, rounding):
            return f"another gradient of {name}"
    for name, value in alone.buffers.items():
        if not _close(value, stacked.buffers[name], tolerance):
            return f"another buffer {name}"
    for name, value in alone.figures.items():
        if not _close(value, stacked.figures[name], tolerance):
            return f"another {name} in validation"
    return ""


def _close(one: Tensor, other: Tensor, tolerance: float, rounding: float = 0.0) -> bool:
    one, other = one.detach().double(), other.detach().double()
    if one.shape != other.shape:
        return False
    atol = tolerance * _size(one) + rounding
    return torch.allclose(one, other, rtol=tolerance, atol=atol, equal_nan=True)


def _size(tensor: Tensor) -> float:
    return float(tensor.abs().nan_to_num(0.0, 0.0, 0.0).max()) if tensor.numel() else 0.0


def _draws(task: Task, data: TrainingData, model: nn.Module) -> bool:
    """Return whether preparing a batch, or learning from it, draws random numbers."""
    with fixed_randomness(1, data.device):
        before = _states(data.device)
        model.train()
        for batch in next(data.updates(0, 0)):
            training_loss(task, model, batch)
        return _states(data.device) != before


def _states(device: torch.device) -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state(device).numpy().tobytes() if device.type == "cuda" else b""
    return (*random_state(), cuda)


def own(batch: Batch) -> Batch:
    """Return a batch that a model may write into."""
    return mapped(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, batch)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
