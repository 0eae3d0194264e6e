"""The protocol that everything trainable follows, and the values that it speaks in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from lrsearch.errors import InputError

Metric = Callable[[Tensor, Tensor], Tensor]
"""A function of (outputs, targets) that returns the mean over the examples given, a scalar."""


@dataclass(frozen=True, eq=False)
class Split:
    """The examples of one split, on the CPU.

    Args:
        inputs: raw inputs as stored, shape ``[examples, ...]``; images as uint8.
        targets: what the loss compares outputs with, shape ``[examples, ...]``; class numbers as int64.

    Raises:
        InputError: the two differ in length, or there is no example.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        examples = [tensor.shape[0] if tensor.ndim else 0 for tensor in (self.inputs, self.targets)]
        if examples[0] != examples[1] or not examples[0]:
            raise InputError(
                "a split needs at least one example, and one target per input: "
                f"got inputs of shape {list(self.inputs.shape)}, targets of shape {list(self.targets.shape)}"
            )

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Splits:
    """The data of a task in its three parts, which share no example.

    Args:
        train: what the weights are fitted to.
        valid: what trials are compared on.
        test: read once, when the winner is confirmed.
    """

    train: Split
    valid: Split
    test: Split


class Task(Protocol):
    """What is learned: a model, a loss, data and metrics. The one protocol that users implement."""

    @property
    def name(self) -> str:
        """The name under which results are stored."""
        ...

    @property
    def batch_size(self) -> int:
        """Examples per update, unless the study says otherwise."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the training split, unless the study says otherwise."""
        ...

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Further figures to report beside the loss, by name; they decide nothing."""
        ...

    def build_model(self) -> nn.Module:
        """Return a fresh model on the CPU.

        Its weights come from torch's global generator, which the caller seeds.
        """
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the examples given, a scalar.

        Args:
            outputs: what the model returned, shape ``[examples, ...]``.
            targets: rows of a split's targets, shape ``[examples, ...]``.
        """
        ...

    def prepare(self, inputs: Tensor) -> Tensor:
        """Return what the model takes, one row per input, on the inputs' own device.

        Args:
            inputs: rows of a split's inputs, shape ``[examples, ...]``.
        """
        ...

    def splits(self) -> Splits:
        """Return the data on the CPU, the same at every call.

        Raises:
            DataError: the data is missing and cannot be fetched.
        """
        ...
