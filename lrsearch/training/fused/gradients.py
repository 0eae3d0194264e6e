"""The gradient of a step, of every lane: as tensors, or still to be multiplied out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lrsearch.training.fused.stack import of_lanes


class Gradient(Protocol):
    """What a step's losses ask of each trained parameter, in the order of these."""

    def add_to(self, parameter: int, target: Tensor, factors: Tensor | None) -> None:
        """Add to a tensor ``[lanes, ...]`` a parameter's gradient, times a factor per lane or 1."""
        ...

    def tensors(self) -> list[Tensor]:
        """Return the gradients ``[lanes, ...]``, which the caller may change."""
        ...


@dataclass(frozen=True)
class DenseGradient:
    """A gradient as tensors.

    Args:
        values: of each parameter, ``[lanes, ...]``.
    """

    values: Sequence[Tensor]

    def add_to(self, parameter: int, target: Tensor, factors: Tensor | None) -> None:
        """Add to a tensor the gradient of a parameter, times a factor per lane if there is one."""
        if factors is None:
            target.add_(self.values[parameter])
        else:
            target.addcmul_(self.values[parameter], of_lanes(factors, target))

    def tensors(self) -> list[Tensor]:
        """Return the gradients."""
        return list(self.values)


def clipped(gradient: Gradient, max_norm: float) -> DenseGradient:
    """Return a gradient whose norm, over all parameters of a lane, is at most ``max_norm``.

    Source: ``torch.nn.utils.clip_grad_norm_``, lane by lane.
    """
    values = gradient.tensors()
    norms = torch.stack([torch.linalg.vector_norm(value.flatten(1), dim=1) for value in values])
    factors = (max_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    return DenseGradient([value.mul_(of_lanes(factors, value)) for value in values])


def mean(gradients: Sequence[Gradient]) -> Gradient:
    """Return the mean of several gradients: those of an update that accumulates batches."""
    if len(gradients) == 1:
        return gradients[0]
    parts = zip(*(gradient.tensors() for gradient in gradients), strict=True)
    return DenseGradient([torch.stack(part).mean(0) for part in parts])
