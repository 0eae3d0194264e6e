"""A split that a ``torch.utils.data.Dataset`` holds, read example by example."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, IterableDataset, default_collate

from lrsearch.errors import InputError, TaskError
from lrsearch.tasks.trees import Tree

Collate = Callable[[list[Any]], Any]
"""Makes a batch of a list of examples, as ``torch.utils.data.DataLoader`` takes it."""


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """The examples of one split, in a data set of PyTorch's.

    Args:
        dataset: has ``__len__`` and ``__getitem__``; an example is ``(inputs, targets)``, or whatever the
            task's ``training_step`` takes.
        collate: makes a batch of a list of examples; None for ``torch.utils.data.default_collate``.
        num_workers: processes that read ahead where the split is streamed, at least 0.
        resident: whether the examples are read once and kept on the training device; None to decide by
            whether they may be: they fit, have equal shapes, and are the same whenever they are read.

    Raises:
        InputError: the data set is empty or has no length, or ``num_workers`` is negative.
    """

    dataset: Dataset[Any]
    collate: Collate | None = None
    num_workers: int = 0
    resident: bool | None = None

    def __post_init__(self) -> None:
        sized = hasattr(self.dataset, "__len__") and hasattr(self.dataset, "__getitem__")
        if isinstance(self.dataset, IterableDataset) or not sized:
            raise InputError(
                "a data set needs __len__ and __getitem__, because the study's seed prescribes the order of "
                f"its examples, but got a {type(self.dataset).__name__}"
            )
        if not len(self):
            raise InputError(
                f"a split needs at least one example, but this {type(self.dataset).__name__} is empty"
            )
        if self.num_workers < 0:
            raise InputError(f"num_workers must be at least 0, but got {self.num_workers}")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.dataset)  # type: ignore[arg-type]  # torch leaves __len__ to subclasses

    def examples(self, indices: Sequence[int]) -> list[Any]:
        """Return examples as the data set gives them, in one call where it has ``__getitems__``."""
        several = getattr(self.dataset, "__getitems__", None)
        return list(several(list(indices))) if several else [self.dataset[index] for index in indices]

    def batch(self, indices: Sequence[int]) -> Tree:
        """Return a batch of examples: ``(inputs, targets)`` if they are pairs, else what ``collate`` made.

        Raises:
            TaskError: there is no ``collate``, and examples differ in shape or are no tensors.
        """
        collate = self.collate or _collated
        batch = collate(self.examples(indices))
        return tuple(batch) if isinstance(batch, list) and len(batch) == 2 else batch


def _collated(examples: list[Any]) -> Any:
    try:
        return default_collate(examples)
    except (RuntimeError, TypeError, KeyError) as error:
        raise TaskError(
            f"examples cannot be put together into a batch: {str(error).splitlines()[0]}; pass collate=, a "
            "function that makes a batch of a list of examples, and pads those that differ in shape"
        ) from error
