"""Batches that are read while training runs, by the workers of a ``torch.utils.data.DataLoader``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lrsearch.tasks.datasets import DatasetSplit
from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.task import Batch, Split, Task
from lrsearch.tasks.trees import moved, rows


@dataclass(frozen=True)
class Request:
    """A batch to be read.

    Args:
        indices: numbers of its examples.
        seed: of all that is random in reading them.
    """

    indices: list[int]
    seed: int


def requests(order: Tensor, batch_size: int, entropy: tuple[int, ...]) -> list[Request]:
    """Return the requests for all batches of an epoch.

    Args:
        order: numbers of the examples.
        batch_size: examples per batch; the last may have fewer.
        entropy: what the batches' seeds derive from.
    """
    batches = [batch.tolist() for batch in torch.split(order, batch_size)]
    seeds = np.random.SeedSequence(entropy).generate_state(len(batches)).tolist()
    return [Request(indices, seed) for indices, seed in zip(batches, seeds, strict=True)]


def streamed(
    task: Task, split: Split | DatasetSplit, requested: list[Request], device: torch.device
) -> Iterator[Batch]:
    """Yield batches of a split, prepared, on a device.

    Args:
        task: which prepares them.
        split: what is read.
        requested: the batches, in order.
        device: where they go.
    """
    loader: DataLoader[Any] = DataLoader(
        _Reader(split),  # type: ignore[arg-type]  # a data set by its method
        batch_size=None,
        sampler=requested,
        num_workers=split.num_workers if isinstance(split, DatasetSplit) else 0,
        collate_fn=_unchanged,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else the loader draws from the global one, which the model uses
    )
    for batch in loader:
        yield _prepared(task, moved(batch, device))


@dataclass(frozen=True)
class _Reader:
    """A split as a data set whose items are whole batches, so that workers need know no order."""

    split: Split | DatasetSplit

    def __getitem__(self, request: Request) -> Batch:
        if isinstance(self.split, Split):
            index = torch.tensor(request.indices)
            inputs, targets = self.split.inputs, self.split.targets
            return rows(inputs, index) if targets is None else rows((inputs, targets), index)
        with fixed_randomness(request.seed):
            return self.split.batch(request.indices)


def _unchanged(batch: Batch) -> Batch:
    return batch


def _prepared(task: Task, batch: Batch) -> Batch:
    if isinstance(batch, tuple) and len(batch) == 2:
        return task.prepare(batch[0]), batch[1]
    return task.prepare(batch)
