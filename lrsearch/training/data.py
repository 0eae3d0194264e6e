"""A task's data on the training device, in the order that a study's seed prescribes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lrsearch.errors import SpecError
from lrsearch.tasks.task import Split, Task

GATHERED_STEPS = 32  # batches gathered and normalised at once: larger gathers no longer pay
VALIDATION_ROWS = 10_000
INITIAL_WEIGHTS, BATCH_ORDER, OTHER_RANDOMNESS = 1, 2, 3  # streams of random numbers under one seed


class ResidentData:
    """All splits of a task but the test split, as stored (images as uint8), on one device.

    An epoch leaves out the rows that do not fill a batch, others in each epoch, so that all updates see
    batches of one size.

    Args:
        task: whose data.
        batch_size: examples per update, at most the size of the training split.
        device: where the data lie.

    Raises:
        SpecError: if a batch is larger than the training split.
    """

    def __init__(self, task: Task, batch_size: int, device: torch.device) -> None:
        splits = task.splits()
        if batch_size > len(splits.train.inputs):
            raise SpecError(
                f"batch_size must be at most the {len(splits.train.inputs)} training examples of "
                f"{task.name}, but got {batch_size}"
            )
        self._task = task
        self._batch_size = batch_size
        self._train = _moved(splits.train, device)
        self._valid = _moved(splits.valid, device)
        self.device = device

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        return len(self._train.inputs) // self._batch_size

    def batches(self, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches, prepared for the model.

        Args:
            seed: the study's: together with the epoch it decides the order.
            epoch: epochs that the trial has trained before, from 0.

        Yields:
            inputs [batch_size, ...] and targets [batch_size].
        """
        rows = epoch_order(len(self._train.inputs), seed, epoch).to(self.device)
        rows = rows[: self.steps_per_epoch * self._batch_size]
        for gathered in torch.split(rows, GATHERED_STEPS * self._batch_size):
            inputs = self._task.prepare(self._train.inputs[gathered])
            targets = self._train.targets[gathered]
            yield from _batches_of(self._batch_size, inputs, targets)

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation split in parts of at most 10,000 examples, prepared for the model."""
        for inputs, targets in _batches_of(VALIDATION_ROWS, self._valid.inputs, self._valid.targets):
            yield self._task.prepare(inputs), targets


def epoch_order(examples: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the training examples in an epoch: the same for all trials of a study."""
    return torch.randperm(
        examples, generator=torch.Generator().manual_seed(derived_seed(seed, BATCH_ORDER, epoch))
    )


def derived_seed(*numbers: int) -> int:
    """Return a 63-bit seed that depends on all numbers given; trailing zeros alone make no difference."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _moved(split: Split, device: torch.device) -> Split:
    return Split(split.inputs.to(device), split.targets.to(device))


def _batches_of(rows: int, inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(inputs, rows), torch.split(targets, rows), strict=True)
