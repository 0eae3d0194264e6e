"""What computes losses and gradients of stacked lanes: the two ways, and what they are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lrsearch.tasks.task import Batch
from lrsearch.training.fused.gradients import Gradient


@dataclass(frozen=True)
class Shared:
    """A batch that neighbouring lanes learn from together.

    Args:
        lanes: which ones, counted from the first of those at hand.
        batch: prepared.
    """

    lanes: slice
    batch: Batch


@dataclass(frozen=True)
class Stacked:
    """A batch of its own for every lane.

    Args:
        batch: prepared, its tensors ``[lanes, examples, ...]``.
    """

    batch: Batch


Batches = Sequence[Shared] | Stacked
"""What lanes learn from: one batch for each run of them, in the order of the lanes, or one for every lane."""


class Network(Protocol):
    """A model of many lanes."""

    differentiates: bool
    """Whether it needs automatic differentiation; what does not is faster in inference mode."""

    def gradient(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batches: Batches
    ) -> tuple[Tensor, Gradient]:
        """Return the losses ``[lanes]`` and what they ask of the parameters.

        Args:
            parameters: trained ones by name, ``[lanes, ...]``.
            buffers: all other tensors of the model; those that training changes are changed.
            batches: what they learn from.
        """
        ...

    def figures(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """Return validation figures ``[lanes]`` by name, ``loss`` among them, for one batch of all lanes."""
        ...
