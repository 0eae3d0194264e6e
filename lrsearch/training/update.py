"""One optimizer update: forward, backward, clipping, step."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lrsearch.errors import TaskError
from lrsearch.tasks.task import Batch, Task
from lrsearch.training.pulse import beat


def update(task: Task, model: nn.Module, optimizer: Optimizer, batches: list[Batch]) -> Tensor:
    """Update a model once, and return the loss before it, a scalar without gradient.

    The gradient is that of the mean loss over the batches, its norm clipped to the task's ``clip_norm``. It
    is computed in the closure that ``optimizer.step`` calls: once, or by L-BFGS as often as it needs.

    Args:
        task: whose loss.
        model: in training mode.
        optimizer: of the model's parameters.
        batches: at least one, prepared for the model.

    Raises:
        TaskError: if the loss is not a scalar with a gradient.
    """
    loss = optimizer.step(partial(backward, task, model, optimizer, batches))  # type: ignore[arg-type]  # torch types say float
    beat()
    return loss  # type: ignore[return-value]  # torch returns what the closure does


def backward(task: Task, model: nn.Module, optimizer: Optimizer, batches: list[Batch]) -> Tensor:
    """Set the gradients that an update takes, and return the loss; the arguments are those of ``update``.

    Raises:
        TaskError: if the loss is not a scalar with a gradient.
    """
    optimizer.zero_grad()
    losses = [_add_gradient(task, model, batch, len(batches)) for batch in batches]
    if task.clip_norm is not None:
        clip_grad_norm_((p for group in optimizer.param_groups for p in group["params"]), task.clip_norm)
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


def training_loss(task: Task, model: nn.Module, batch: Batch) -> Tensor:
    """Return what a task's ``training_step`` gives for a batch, in the task's precision."""
    with precision(task, model):
        return task.training_step(model, batch)


def precision(task: Task, model: nn.Module) -> AbstractContextManager[Any]:
    """Return the context of a forward pass: bfloat16 where the task asks for ``amp`` (``torch.autocast``)."""
    if not task.amp:
        return nullcontext()
    return torch.autocast(next(model.parameters()).device.type, dtype=torch.bfloat16)


def check_scalar(task: Task, rule: str, value: Any) -> None:
    """Refuse a figure that is no scalar tensor.

    Args:
        task: whose figure.
        rule: what it must be, as a sentence that goes on with what was got.
        value: the figure.

    Raises:
        TaskError: with the rule, and what was got.
    """
    if isinstance(value, Tensor) and not value.ndim:
        return
    if isinstance(value, Tensor):
        got = f"a tensor of shape {list(value.shape)}; take its .mean()"
    else:
        got = f"a {type(value).__name__}; return a tensor (without .item()), or torch.tensor(value)"
    raise TaskError(f"{task.name}: {rule}, but got {got}")


def loss_method(task: Task) -> str:
    """Return the name of the method that decides what is trained with."""
    return "training_step" if task.overrides("training_step") else "loss"


def _add_gradient(task: Task, model: nn.Module, batch: Batch, batches: int) -> Tensor:
    """Add a batch's part in the gradients of the mean over several, and return its loss."""
    loss = training_loss(task, model, batch)
    _check_loss(task, loss)
    (loss if batches == 1 else loss / batches).backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
    return loss.detach()


def _check_loss(task: Task, loss: Any) -> None:
    if isinstance(loss, Tensor) and not loss.ndim and loss.requires_grad:
        return  # before any text is made, because this runs in every update
    check_scalar(task, f"{loss_method(task)}() must return the mean loss as a scalar tensor", loss)
    raise TaskError(
        f"{task.name}: what {loss_method(task)}() returns has no gradient; compute it from the model's "
        "outputs, without .item(), .detach(), .argmax() or torch.no_grad()"
    )
