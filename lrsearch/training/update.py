"""One optimizer update: forward, backward, clipping, step."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lrsearch.errors import TaskError
from lrsearch.tasks.task import Batch, Task


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

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _backward(task, model, batches)
        if task.clip_norm is not None:
            clip_grad_norm_((p for group in optimizer.param_groups for p in group["params"]), task.clip_norm)
        return loss

    return optimizer.step(closure)  # type: ignore[arg-type,return-value]  # torch types say float, and torch returns what the closure does


def precision(task: Task, model: nn.Module) -> AbstractContextManager[Any]:
    """Return the context of a forward pass: bfloat16 where the task asks for ``amp`` (``torch.autocast``)."""
    if not task.amp:
        return nullcontext()
    return torch.autocast(next(model.parameters()).device.type, dtype=torch.bfloat16)


def check_scalar(task: Task, name: str, value: Tensor) -> None:
    """Refuse a figure that is no scalar tensor.

    Raises:
        TaskError: with the rule, and what was got.
    """
    if not isinstance(value, Tensor) or value.ndim:
        got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise TaskError(
            f"{task.name}: {name} must be a scalar tensor, the mean over the examples, but got {got}"
        )


def _backward(task: Task, model: nn.Module, batches: list[Batch]) -> Tensor:
    """Add the gradients of the mean loss over the batches to the parameters', and return that loss."""
    losses = []
    for batch in batches:
        with precision(task, model):
            loss = task.training_step(model, batch)
        _check_loss(task, loss)
        (loss if len(batches) == 1 else loss / len(batches)).backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
        losses.append(loss.detach())
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


def _check_loss(task: Task, loss: Tensor) -> None:
    check_scalar(task, "the loss", loss)
    if not loss.requires_grad:
        raise TaskError(
            f"{task.name}: the loss has no gradient; compute it from what the model returns, without "
            ".item(), .detach() or torch.no_grad()"
        )
