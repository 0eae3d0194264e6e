"""Image classification: the task that all shipped ones are."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lrsearch.tasks.task import Splits, Task


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of examples whose largest output is that of their class, 0 to 1, a scalar.

    Args:
        outputs: a score per class, shape ``[examples, classes]``.
        targets: class numbers, shape ``[examples]``.
    """
    return (outputs.argmax(dim=-1) == targets).float().mean()


@dataclass(frozen=True)
class Normalization:
    """How stored pixels become the model's inputs: ``(pixel / white - mean) / std``.

    Args:
        white: the largest pixel value that the format allows, above 0.
        mean: mean of ``pixel / white`` over the training split.
        std: standard deviation of ``pixel / white`` over the training split, above 0.
    """

    white: float
    mean: float
    std: float


@dataclass(frozen=True)
class Classification(Task):
    """A task that sorts grey images into classes by cross-entropy.

    Args:
        name: the name under which results are stored.
        model: returns a fresh model that maps ``[examples, 1, height, width]`` to ``[examples, classes]``.
        read_splits: reads the data: images as uint8 ``[examples, height, width]``, classes as int64.
        normalization: how pixels become inputs.
        batch_size: examples per update.
        epochs: passes over the training split.
    """

    name: str = field()  # field() leaves these without the defaults that they have in Task
    model: Callable[[], nn.Module]
    read_splits: Callable[[], Splits]
    normalization: Normalization
    batch_size: int = field()
    epochs: int = field()

    metrics = {"accuracy": accuracy}  # noqa: RUF012  # an annotation would make it a field
    validation_batch_size = 10_000  # these images and models are small

    def build_model(self) -> nn.Module:
        """Return a fresh model; its weights come from torch's global generator, seeded by the caller."""
        return self.model()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy, a scalar (``torch.nn.functional.cross_entropy``).

        Args:
            outputs: a score per class (logits), shape ``[examples, classes]``.
            targets: class numbers, shape ``[examples]``.
        """
        return nn.functional.cross_entropy(outputs, targets)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Return normalised images, ``[examples, 1, height, width]``, in torch's default dtype.

        Args:
            inputs: images as stored, shape ``[examples, height, width]``.
        """
        pixels = inputs.unsqueeze(1).to(torch.get_default_dtype())
        return (pixels / self.normalization.white - self.normalization.mean) / self.normalization.std

    def splits(self) -> Splits:
        """Return the data on the CPU, read anew at every call.

        Raises:
            DataError: the data is missing and cannot be fetched.
        """
        return self.read_splits()
