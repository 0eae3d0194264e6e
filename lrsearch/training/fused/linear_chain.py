"""Chains of linear layers written out by hand: what ``vmap`` adds in Python costs more than such a net."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from lrsearch.tasks.classification import Classification
from lrsearch.tasks.task import Batch, Task
from lrsearch.training.fused.gradients import Gradient
from lrsearch.training.fused.network import Batches, Shared, Stacked
from lrsearch.training.fused.stack import of_lanes

_aten = torch.ops.aten
# How an activation is applied in place, and the gradient before it from the one after it and its output.
_ACTIVATIONS: dict[type[nn.Module], tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    nn.ReLU: (torch.relu_, lambda delta, output: _aten.threshold_backward(delta, output, 0)),
    nn.Tanh: (torch.tanh_, _aten.tanh_backward),
    nn.Sigmoid: (torch.sigmoid_, _aten.sigmoid_backward),
}
_Inputs = Sequence[Shared] | Tensor  # batches [examples, features], or one tensor [lanes, features, examples]
VALIDATION_COLUMNS = 2048  # examples validated at once: their activations stay in the cache


@dataclass(frozen=True)
class _Layer:
    """A linear layer, and what follows it.

    Args:
        weight: name of a parameter ``[outputs, inputs]``.
        bias: name of a parameter ``[outputs]``, or None.
        activation: class of the module that follows, or None.
    """

    weight: str
    bias: str | None
    activation: type[nn.Module] | None


class LinearChain:
    """A chain of linear layers in all lanes: activations are ``[lanes, features, examples]``.

    The first layer of lanes that learn from one batch is a single product with it.

    Args:
        task: whose loss and metrics follow the chain.
        layers: from the input on.
        trained: names of the parameters, in their order.
        cross_entropy: whether the loss is the mean cross-entropy of class numbers.
    """

    def __init__(
        self, task: Task, layers: Sequence[_Layer], trained: Sequence[str], *, cross_entropy: bool
    ) -> None:
        self._task, self._layers = task, tuple(layers)
        self._is_cross_entropy, self.differentiates = cross_entropy, not cross_entropy
        places = {
            name: (number, name == layer.bias)
            for number, layer in enumerate(layers)
            for name in _names(layer)
        }
        self._places = tuple(places[name] for name in trained)

    @classmethod
    def of(cls, task: Task, model: nn.Module, trained: Sequence[str], *, class_numbers: bool) -> Self | None:
        """Return a model as a chain; None if it is none.

        Args:
            task: whose steps must be the usual ones.
            model: which must be an ``nn.Sequential`` of linear layers, activations, and a flattening first.
            trained: names of the parameters that are trained: all.
            class_numbers: whether all targets are class numbers.
        """
        usual = not any(map(task.overrides, ("forward", "training_step", "validation_step")))
        layers = _layers(model) if usual and not task.amp else None
        if layers is None or {name for layer in layers for name in _names(layer)} != set(trained):
            return None
        return cls(task, layers, trained, cross_entropy=class_numbers and _is_cross_entropy(task))

    def gradient(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batches: Batches
    ) -> tuple[Tensor, Gradient]:
        """Return losses, and a gradient that is not multiplied out yet."""
        del buffers
        with torch.no_grad():
            inputs = _inputs(batches)
            outputs = self._forward(parameters, inputs)
            losses, delta = self._loss(outputs[-1], batches)
            deltas = self._backward(parameters, outputs, delta)
        return losses, _ChainGradient(self._places, inputs, outputs, deltas)

    @torch.no_grad()
    def figures(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """Return validation figures of all lanes."""
        del buffers
        inputs, targets = self._task.pair(batch)
        every = slice(0, len(next(iter(parameters.values()))))
        parts = torch.split(inputs.flatten(1), VALIDATION_COLUMNS)
        outputs = torch.cat([self._forward(parameters, [Shared(every, part)])[-1] for part in parts], dim=2)
        functions = {"loss": self._task.loss, **self._task.metrics}

        def of_one_lane(output: Tensor, targets: Any) -> dict[str, Tensor]:
            return {name: function(output, targets) for name, function in functions.items()}

        figures = vmap(of_one_lane, in_dims=(0, None), randomness="same")(outputs.transpose(1, 2), targets)
        return dict(figures)

    def _forward(self, parameters: Mapping[str, Tensor], inputs: _Inputs) -> list[Tensor]:
        """Return the output of every layer."""
        outputs: list[Tensor] = []
        for layer in self._layers:
            weight = parameters[layer.weight]
            value = torch.bmm(weight, outputs[-1]) if outputs else _first_products(weight, inputs)
            if layer.bias is not None:
                value += parameters[layer.bias].unsqueeze(2)
            if layer.activation is not None:
                value = _ACTIVATIONS[layer.activation][0](value)
            outputs.append(value)
        return outputs

    def _backward(
        self, parameters: Mapping[str, Tensor], outputs: Sequence[Tensor], delta: Tensor
    ) -> list[Tensor]:
        """Return the gradient of the losses by every layer's output before its activation."""
        deltas = [delta]
        for number in range(len(self._layers) - 1, -1, -1):
            activation = self._layers[number].activation
            if activation is not None:
                deltas[-1] = _ACTIVATIONS[activation][1](deltas[-1], outputs[number])
            if number:
                weight = parameters[self._layers[number].weight]
                deltas.append(torch.bmm(weight.transpose(1, 2), deltas[-1]))
        return deltas[::-1]

    def _loss(self, outputs: Tensor, batches: Batches) -> tuple[Tensor, Tensor]:
        """Return the losses ``[lanes]``, and their gradient by the chain's outputs."""
        if isinstance(batches, Stacked):
            return self._loss_of_stacked(outputs, batches.batch[1])
        if self._is_cross_entropy:
            targets = [_expanded(shared.batch[1], shared.lanes) for shared in batches]
            return _cross_entropy(outputs, targets[0] if len(targets) == 1 else torch.cat(targets))
        parts = [self._general_loss(outputs[shared.lanes], shared.batch[1], None) for shared in batches]
        losses, deltas = zip(*parts, strict=True)
        return torch.cat(losses), torch.cat(deltas)

    def _loss_of_stacked(self, outputs: Tensor, targets: Any) -> tuple[Tensor, Tensor]:
        if self._is_cross_entropy:
            return _cross_entropy(outputs, targets.unsqueeze(1))
        return self._general_loss(outputs, targets, 0)

    def _general_loss(self, outputs: Tensor, targets: Any, dimension: int | None) -> tuple[Tensor, Tensor]:
        step = vmap(grad_and_value(self._task.loss), in_dims=(0, dimension), randomness="same")
        deltas, losses = step(outputs.transpose(1, 2), targets)
        return losses, deltas.transpose(1, 2)


@dataclass(frozen=True)
class _ChainGradient:
    """The gradient of a chain, kept as its factors: the deltas of each layer, and what went into it.

    Args:
        places: of every parameter: the number of its layer, and whether it is the bias.
        inputs: of the first layer.
        outputs: of every layer.
        deltas: gradient by every layer's output before its activation.
    """

    places: Sequence[tuple[int, bool]]
    inputs: _Inputs
    outputs: Sequence[Tensor]
    deltas: Sequence[Tensor]

    def add_to(self, parameter: int, target: Tensor, factors: Tensor | None) -> None:
        """Add to a tensor the gradient of a parameter, times a factor per lane if there is one."""
        number, is_bias = self.places[parameter]
        delta = self.deltas[number]
        if is_bias:
            sums = delta.sum(2)
            target += sums if factors is None else sums.mul_(of_lanes(factors, sums))
            return
        if factors is not None:
            delta = delta * of_lanes(factors, delta)
        before = self.outputs[number - 1] if number else self.inputs
        if isinstance(before, Tensor):
            target.baddbmm_(delta, before.transpose(1, 2))
            return
        for shared in before:
            target[shared.lanes].flatten(0, 1).addmm_(delta[shared.lanes].flatten(0, 1), shared.batch)

    def tensors(self) -> list[Tensor]:
        """Return the gradients."""
        return [self._tensor(*place) for place in self.places]

    def _tensor(self, number: int, is_bias: bool) -> Tensor:
        delta = self.deltas[number]
        if is_bias:
            return delta.sum(2)
        before = self.outputs[number - 1] if number else self.inputs
        if isinstance(before, Tensor):
            return torch.bmm(delta, before.transpose(1, 2))
        return torch.cat([_products(delta[shared.lanes], shared.batch) for shared in before])


def _layers(model: nn.Module) -> list[_Layer] | None:
    """Return the layers of a chain; None if a model is none."""
    modules = list(_flat(model, ""))
    first = modules[0][1]
    if isinstance(first, nn.Flatten) and first.start_dim == 1 and first.end_dim == -1:
        modules.pop(0)
    layers: list[_Layer] = []
    for prefix, module in modules:
        if type(module) is nn.Linear:
            layers.append(
                _Layer(f"{prefix}weight", f"{prefix}bias" if module.bias is not None else None, None)
            )
        elif type(module) in _ACTIVATIONS and layers and layers[-1].activation is None:
            layers[-1] = _Layer(layers[-1].weight, layers[-1].bias, type(module))
        else:
            return None
    return layers or None


def _flat(model: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """Return the modules of nested ``nn.Sequential`` with what their parameters' names begin with."""
    if type(model) is not nn.Sequential or _is_observed(model):
        return [(prefix, nn.Identity() if _is_observed(model) else model)]
    return [
        found
        # named_children() would leave out a module that stands in several places
        for name, child in model._modules.items()
        if child is not None
        for found in _flat(child, f"{prefix}{name}.")
    ]


def _is_observed(module: nn.Module) -> bool:
    """Return whether hooks or parametrizations change what a module does."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or nn.utils.parametrize.is_parametrized(module)
    )


def _names(layer: _Layer) -> list[str]:
    return [layer.weight] if layer.bias is None else [layer.weight, layer.bias]


def _is_cross_entropy(task: Task) -> bool:
    """Return whether a task's loss is the mean cross-entropy of class numbers, and nothing else."""
    loss: Any = task.loss
    if getattr(loss, "__func__", None) is Classification.loss or loss is nn.functional.cross_entropy:
        return True
    return type(loss) is nn.CrossEntropyLoss and (
        loss.weight is None
        and loss.ignore_index < 0
        and (loss.reduction, loss.label_smoothing) == ("mean", 0.0)
    )


def _cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of every lane, and its gradient.

    Args:
        outputs: ``[lanes, classes, examples]``.
        targets: class numbers, ``[lanes, 1, examples]``.
    """
    logs = torch.log_softmax(outputs, 1)
    losses = logs.gather(1, targets).mean((1, 2)).neg_()
    share = 1 / outputs.shape[2]
    delta = logs.exp_().mul_(share)
    delta.scatter_add_(1, targets, delta.new_full((1, 1, 1), -share).expand(targets.shape))
    return losses, delta


def _expanded(targets: Tensor, lanes: slice) -> Tensor:
    return targets.view(1, 1, -1).expand(lanes.stop - lanes.start, 1, -1)


def _inputs(batches: Batches) -> _Inputs:
    if isinstance(batches, Stacked):
        inputs: Tensor = batches.batch[0]
        return inputs.flatten(2).transpose(1, 2)
    return [Shared(shared.lanes, shared.batch[0].flatten(1)) for shared in batches]


def _first_products(weight: Tensor, inputs: _Inputs) -> Tensor:
    """Return the first layer's outputs, ``[lanes, features, examples]``."""
    if isinstance(inputs, Tensor):
        return torch.bmm(weight, inputs)
    if len(inputs) == 1:
        return _products(weight, inputs[0].batch.t())
    return torch.cat([_products(weight[shared.lanes], shared.batch.t()) for shared in inputs])


def _products(stacked: Tensor, matrix: Tensor) -> Tensor:
    """Return the product of every lane's matrix with one matrix, as a single product."""
    lanes, rows, _columns = stacked.shape
    return torch.mm(stacked.flatten(0, 1), matrix).view(lanes, rows, -1)
