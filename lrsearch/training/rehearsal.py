"""One update and one validation of a throw-away model before the first trial, so that mistakes show early."""

import math
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lrsearch.code import user_frame
from lrsearch.errors import InputError, TaskError
from lrsearch.results import in_one_line
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.task import Batch, Task
from lrsearch.tasks.trees import Tree, description, leaves
from lrsearch.training.data import TrainingData
from lrsearch.training.devices import threads_for
from lrsearch.training.eager import figure_name, own_copy, share_tensors, validation_figures
from lrsearch.training.groups import parameter_groups
from lrsearch.training.optimizers import build_optimizer
from lrsearch.training.update import backward, loss_method, update

_BROADCAST = "Using a target size"  # torch's warning: shapes differ, so that the loss compares all with all
_METHODS = ("prepare", "forward", "loss", "training_step", "validation_step", "build_model")
# What torch says, and what then to look at; the first that fits is given.
_HINTS = {
    "'(tuple|list|dict)' object has no attribute|not (tuple|list|dict)$": (
        "the model returns several things: take the one that counts in loss(outputs, targets), or in forward"
    ),
    "more than 1 value per channel": "batch norm needs at least two examples in a batch: raise batch_size",
    "multi-target": "class numbers have the shape [examples]: targets.squeeze(1)",
    "same device|expected device|torch.cuda.*weight type|weight type.*torch.cuda": (
        "tensors lie on different devices: make your own with device=inputs.device, and keep those of the "
        "model as parameters or buffers (register_buffer), which move with it"
    ),
    "out of memory|not enough memory": "the batch does not fit into memory: take a smaller batch_size",
    "dtype|scalar type|not implemented for|(weight|bias) type": (
        "dtypes do not fit together: inputs and regression targets need the dtype of the model's weights "
        "(.float()), class numbers int64 (.long())"
    ),
    "out of bounds|out of range": (
        "a number is too large: class numbers lie in 0 .. outputs - 1, ids in 0 .. num_embeddings - 1"
    ),
    _BROADCAST: (
        "outputs and targets differ in shape: bring one into the other's, with outputs.squeeze(1) or "
        "targets.unsqueeze(1)"
    ),
    "shape|size|dimension|channels|must match": (
        "shapes do not fit together: compare those of the batch with what the model and the loss take"
    ),
}


def rehearse(task: Task, data: TrainingData, optimizer_name: str, hyperparameters: Hyperparameters) -> None:
    """Try what every trial will do: build the model, update it once, validate it; all is thrown away.

    Global random numbers are left as they were.

    Args:
        task: what is to be learned.
        data: its data on the training device.
        optimizer_name: a class of ``torch.optim``.
        hyperparameters: any of the study's.

    Raises:
        TaskError: the task cannot be trained with; which of its methods to look at, and for what.
        SpecError: parameter groups or optimizer do not fit the model.
    """
    _check_size(task, data)
    _check_amp(task, data.device)
    with fixed_randomness(0, data.device), _strict_shapes():
        model = _fresh_model(task).to(data.device)
        groups = parameter_groups(model, hyperparameters)
        optimizer = build_optimizer(optimizer_name, groups, hyperparameters.lr, hyperparameters.optimizer)
        with threads_for(model, data.device):
            batches = _first_batches(task, data)
            _learn(task, model, optimizer, batches)
            _validate(task, model, data)
            _update(task, model, optimizer, batches)


def _check_size(task: Task, data: TrainingData) -> None:
    if data.steps_per_epoch < 1:
        raise TaskError(
            f"{task.name}: splits() gives too few training examples for one update of batch_size x "
            f"accumulate (accumulate = {task.accumulate}); take a smaller batch_size"
        )


def _check_amp(task: Task, device: torch.device) -> None:
    if not task.amp:
        return
    supported = torch.amp.is_autocast_available(device.type)
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported()
    if not supported:
        raise TaskError(
            f"{task.name}: amp = True needs bfloat16, which {device} does not have; set amp = False"
        )


@contextmanager
def _strict_shapes() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_BROADCAST)
        yield


def _fresh_model(task: Task) -> nn.Module:
    """Return a model that can be trained, and has nothing that another call of ``build_model`` returns."""
    with _explained(task, "build_model()"):
        model, other = task.build_model(), task.build_model()
    if not isinstance(model, nn.Module):
        raise TaskError(
            f"{task.name}: build_model() must return a torch.nn.Module, but returned a {type(model).__name__}"
        )
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if not trained:
        raise TaskError(
            f"{task.name}: build_model() returned a {type(model).__name__} without parameters to train; "
            "layers in a plain list or dict are not found (take nn.ModuleList), frozen ones do not count"
        )
    if trained & {id(parameter) for parameter in other.parameters()}:
        raise TaskError(
            f"{task.name}: build_model() returns one model at every call, but every trial trains its own: "
            "make it inside of build_model(), or return copy.deepcopy(model)"
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise TaskError(
            f"{task.name}: the model has lazy layers without shape; run a batch through it in build_model()"
        )
    return own_copy(task, model) if share_tensors(model, other) else model


def _first_batches(task: Task, data: TrainingData) -> list[Batch]:
    with _explained(task, "reading the data"):
        return next(data.updates(seed=0, epoch=0))


def _learn(task: Task, model: nn.Module, optimizer: Optimizer, batches: list[Batch]) -> None:
    """Give an untrained model its first gradient, and look at it."""
    model.train()
    with _explained(task, "computing the gradient", batches[0], model):
        loss = float(backward(task, model, optimizer, batches))
    if not math.isfinite(loss):
        raise TaskError(
            f"{task.name}: what {loss_method(task)}() returns is {loss} on the untrained model; "
            + _suspicion(batches)
        )
    _check_gradient(task, model, loss, batches[0])


def _suspicion(batch: Tree) -> str:
    tensors = [leaf for leaf in leaves(batch) if isinstance(leaf, Tensor)]
    bad = sum(int((~torch.isfinite(leaf)).sum()) for leaf in tensors)
    if bad:
        return f"the batch itself holds {bad} values that are not finite: look at splits() and prepare()"
    return "look for logarithms, roots and divisions of 0, and for inputs that are not normalised"


def _check_gradient(task: Task, model: nn.Module, loss: float, batch: Batch) -> None:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    method = "training_step" if task.overrides("training_step") else "forward and loss"
    if not gradients:
        raise TaskError(
            f"{task.name}: no parameter of the model gets a gradient from the loss; does {method} use the "
            "model that is given?"
        )
    if any(bool(gradient.isnan().any()) for gradient in gradients):
        raise TaskError(
            f"{task.name}: the loss of the untrained model is {loss:g}, but its gradient is NaN; look in "
            f"{method} for roots, norms and divisions at 0 (batch: {description(batch)})"
        )


@torch.no_grad()
def _validate(task: Task, model: nn.Module, data: TrainingData) -> None:
    model.eval()
    for batch, _examples in data.validation():
        with _explained(task, "validation_step()", batch, model):
            figures = validation_figures(task, model, batch)
            _check_defined(task, figures, batch)


def _check_defined(task: Task, figures: dict[str, Tensor], batch: Batch) -> None:
    for name, value in figures.items():
        if bool(value.isnan()):
            raise TaskError(
                f"{task.name}: {figure_name(name)} is NaN in the validation of the untrained model; "
                f"{_suspicion(batch)} (batch: {description(batch)})"
            )


def _update(task: Task, model: nn.Module, optimizer: Optimizer, batches: list[Batch]) -> None:
    model.train()
    with _explained(task, f"an update by {type(optimizer).__name__}", batches[0], model):
        update(task, model, optimizer, batches)


@contextmanager
def _explained(task: Task, stage: str, batch: Batch = None, model: nn.Module | None = None) -> Iterator[None]:
    """Say in plain words what the user's code, or torch in it, failed at."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever a user's task raises
        raise TaskError(_explanation(task, stage, error, batch, model)) from error


def _explanation(task: Task, stage: str, error: Exception, batch: Batch, model: nn.Module | None) -> str:
    message = in_one_line(error)
    where = user_frame(error)
    facts = [f"{task.name}: {_failed_method(task, error) or stage} failed: {message}"]
    if hint := next((hint for pattern, hint in _HINTS.items() if re.search(pattern, message)), None):
        facts.append(hint)
    if batch is not None:
        facts.append(f"batch: {description(batch)}")
    if model is not None:
        facts.append(f"model: {description(next(model.parameters()))} and further parameters")
    if where:
        facts.append(f"at {where}")
    return "\n  ".join(facts)


def _failed_method(task: Task, error: Exception) -> str | None:
    """Return the innermost of the task's methods and metrics in an exception's traceback."""
    names = {code: name for name, function in _functions(task).items() if (code := _code(function))}
    found = [names.get(frame.f_code) for frame, _line in traceback.walk_tb(error.__traceback__)]
    return next((name for name in reversed(found) if name), None)


def _functions(task: Task) -> dict[str, Any]:
    methods = {f"{name}()": getattr(task, name) for name in _METHODS}
    return {**methods, **{f"the metric {name!r}": metric for name, metric in task.metrics.items()}}


def _code(function: Any) -> CodeType | None:
    if isinstance(function, partial):
        function = function.func
    if isinstance(function, nn.Module):
        function = function.forward
    return getattr(getattr(function, "__func__", function), "__code__", None)
