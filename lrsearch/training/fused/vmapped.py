"""Any module as a model of many lanes, by ``torch.func``: one vectorised call for all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lrsearch.tasks.task import Batch, Task
from lrsearch.tasks.trees import mapped
from lrsearch.training.eager import validation_figures
from lrsearch.training.fused.gradients import DenseGradient, Gradient
from lrsearch.training.fused.network import Batches, Shared, Stacked
from lrsearch.training.update import training_loss

_MODEL = "model."  # what names of the model's tensors begin with in _Call


class _Call(nn.Module):
    """Calls a function of a task with a model whose tensors ``functional_call`` has replaced."""

    def __init__(self, task: Task, model: nn.Module, function: Any) -> None:
        super().__init__()
        self.model = model
        self._arguments = (task, function)  # in a tuple, because a task may itself be a module

    def forward(self, batch: Batch) -> Any:
        task, function = self._arguments
        return function(task, self.model, batch)


class VmappedModule:
    """A module whose tensors come stacked.

    Random numbers are drawn once for all lanes, as each would draw them alone under the same seed.

    Args:
        task: whose training and validation steps are called.
        model: gives the structure; its own tensors are not used.
    """

    differentiates = True

    def __init__(self, task: Task, model: nn.Module) -> None:
        self._model = model
        self._changing = tuple(name for name, _buffer in model.named_buffers())  # any of them may
        self._train = _Call(task, model, training_loss)
        self._validate = _Call(task, model, validation_figures)

    def gradient(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batches: Batches
    ) -> tuple[Tensor, Gradient]:
        """Return losses and gradients; buffers are changed in place."""
        self._model.train()
        batch, dimension = _of_all_lanes(batches)
        step = vmap(grad_and_value(self._loss, has_aux=True), in_dims=(0, 0, dimension), randomness="same")
        gradients, (losses, changed) = step(dict(parameters), dict(buffers), batch)
        for name, value in changed.items():
            buffers[name].copy_(value)
        return losses.detach(), DenseGradient([gradients[name].detach() for name in parameters])

    @torch.no_grad()
    def figures(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """Return validation figures of all lanes."""
        self._model.eval()

        def one(tensors: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
            return dict(functional_call(self._validate, _prefixed(tensors), (batch,)))

        every = vmap(one, in_dims=(0, None), randomness="same")
        figures: dict[str, Tensor] = every({**parameters, **buffers}, batch)
        return figures

    def _loss(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # Buffers may change in place, which must not show outside before the step has succeeded.
        buffers = {k: v.clone() if k in self._changing else v for k, v in buffers.items()}
        tensors = _prefixed({**parameters, **buffers})
        loss = functional_call(self._train, tensors, (batch,))  # puts buffers that were assigned into tensors
        return loss, {name: tensors[_MODEL + name] for name in self._changing}


def _prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_MODEL + name: tensor for name, tensor in tensors.items()}


def _of_all_lanes(batches: Batches) -> tuple[Batch, int | None]:
    """Return a batch, and which dimension of its tensors is that of the lanes; None where all share it."""
    if isinstance(batches, Stacked):
        return batches.batch, 0
    return (batches[0].batch, None) if len(batches) == 1 else (_of_each_lane(batches), 0)


def _of_each_lane(batches: Sequence[Shared]) -> Batch:
    """Return one batch per lane, stacked."""

    def stacked(*leaves: Any) -> Any:
        if not isinstance(leaves[0], Tensor):
            return leaves[0]
        parts = zip(leaves, batches, strict=True)
        return torch.cat([leaf.expand(_count(part), *leaf.shape) for leaf, part in parts])

    first, *others = (part.batch for part in batches)
    return mapped(stacked, first, *others)


def _count(batch: Shared) -> int:
    return int(batch.lanes.stop - batch.lanes.start)
