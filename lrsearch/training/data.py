"""A task's data on the training device, in the order that a study's seed prescribes."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lrsearch.code import user_traceback
from lrsearch.errors import InputError, SpecError, TaskError
from lrsearch.tasks.datasets import DatasetSplit
from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.rules import check_task
from lrsearch.tasks.task import Batch, Split, Splits, Task
from lrsearch.tasks.trees import Tree, leaves, length, mapped, moved, parts, rows, size_bytes
from lrsearch.training.residence import laid_out, prepared_inputs, streaming_reason
from lrsearch.training.streaming import requests, streamed

_log = logging.getLogger(__name__)

GATHERED_STEPS = 32  # batches gathered and prepared at once: larger gathers no longer pay
GATHERED_BYTES = 2**26  # but never more than this, as stored
VALIDATION_BATCHES = 4  # batch sizes that validate at once: without gradients they need less memory
# Streams of random numbers under one seed.
INITIAL_WEIGHTS, BATCH_ORDER, OTHER_RANDOMNESS, EXAMPLES, VALIDATION = 1, 2, 3, 4, 5


class TrainingData(Protocol):
    """The batches that trials learn from and are validated on."""

    @property
    def device(self) -> torch.device:
        """Where the batches lie."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer updates in an epoch, at least 1."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """A digest of the training and validation splits; None for data that are read anew in every epoch."""
        ...

    def updates(self, seed: int, epoch: int) -> Iterator[list[Batch]]:
        """Yield what each update of an epoch learns from: ``task.accumulate`` batches, prepared.

        Args:
            seed: the study's: together with the epoch it decides the order.
            epoch: epochs that the trial has trained before, from 0.
        """
        ...

    def validation(self) -> Iterator[tuple[Batch, int]]:
        """Yield the validation split in batches, prepared, each with its number of examples."""
        ...

    def test(self) -> Iterator[tuple[Batch, int]] | None:
        """Return the test split in batches as ``validation`` does; None where the task has none.

        It lies where the splits came from until it is asked for: a search never touches it.
        """
        ...


def load_data(task: Task, batch_size: int, device: torch.device) -> TrainingData:
    """Return a task's data for training: on the device where that is possible, else streamed.

    Args:
        task: whose data.
        batch_size: examples per forward pass.
        device: which trains.

    Raises:
        SpecError: an update needs more examples than the training split has.
        TaskError: an attribute of the task is not what it must be, it gives no splits, or reading them fails.
        DataError: the data is missing and cannot be fetched.
    """
    check_task(task)
    try:
        return _loaded(task, batch_size, device)
    except InputError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise TaskError(f"the data of {task.name} cannot be read:\n{user_traceback(error)}") from error


def _loaded(task: Task, batch_size: int, device: torch.device) -> TrainingData:
    splits = read_splits(task)
    reason = streaming_reason((splits.train, splits.valid), device)
    if reason is None:
        return ResidentData(task, batch_size, device, splits)
    _log.info("the data of %s are streamed: %s", task.name, reason)
    return StreamedData(task, batch_size, device, splits)


def read_splits(task: Task) -> Splits:
    """Return a task's splits, read under fixed random numbers: every worker sees the same random split.

    Raises:
        TaskError: the task gives none.
        DataError: the data is missing and cannot be fetched.
    """
    with fixed_randomness(0):
        splits = task.splits()
    if not isinstance(splits, Splits):
        raise TaskError(
            f"splits() of {task.name} must return Splits(train, valid, test), but returned a "
            f"{type(splits).__name__}"
        )
    for name, split in (("train", splits.train), ("valid", splits.valid)):
        if not isinstance(split, Split | DatasetSplit):
            raise TaskError(
                f"splits() of {task.name}: {name} must be Split(inputs, targets) or DatasetSplit(dataset), "
                f"but is a {type(split).__name__}"
            )
    return splits


@dataclass(frozen=True)
class EpochPlan:
    """Which training examples an epoch takes, in which order.

    Args:
        task: whose data.
        batch_size: examples per forward pass.
        examples: of the training split.

    Raises:
        SpecError: if an update needs more examples than there are.
    """

    task: Task
    batch_size: int
    examples: int

    def __post_init__(self) -> None:
        if self.steps:
            return
        names, got = "batch_size", str(self.batch_size)
        if self.task.accumulate > 1:
            names, got = "batch_size x accumulate", f"{self.batch_size} x {self.task.accumulate}"
        raise SpecError(
            f"{names} must be at most the {self.examples} training examples of {self.task.name}, "
            f"but got {got}"
        )

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return self.examples // (self.batch_size * self.task.accumulate)

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the order of an epoch's examples, without those that do not fill an update."""
        taken = self.steps * self.batch_size * self.task.accumulate
        return epoch_order(self.examples, seed, epoch)[:taken]


class ResidentData:
    """All splits of a task but the test split, as stored (images as uint8), on one device.

    An epoch leaves out the rows that do not fill an update, others in each epoch, so that all updates see
    batches of one size.

    Args:
        task: whose data.
        batch_size: examples per forward pass.
        device: where the data lie.
        splits: the task's, where they are read already.

    Raises:
        SpecError: if an update needs more examples than the training split has.
    """

    def __init__(
        self, task: Task, batch_size: int, device: torch.device, splits: Splits | None = None
    ) -> None:
        splits = splits or read_splits(task)
        self._task, self._batch_size = task, batch_size
        self._epoch = EpochPlan(task, batch_size, len(splits.train))
        self._train = _resident(splits.train, device)
        self._valid = _resident(splits.valid, device)
        self._test = splits.test
        self.device = device

    @property
    def fingerprint(self) -> str:
        """A digest of the training and validation splits as stored."""
        digest = hashlib.blake2b(digest_size=16)
        for split in (self._train, self._valid):
            for leaf in leaves((split.inputs, split.targets)):
                if isinstance(leaf, Tensor):
                    digest.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
                    digest.update(leaf.detach().cpu().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def train(self) -> Split:
        """The training split on the device, as stored."""
        return self._train

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        return self._epoch.steps

    def updates(self, seed: int, epoch: int) -> Iterator[list[Batch]]:
        """Yield what each update of an epoch learns from: ``task.accumulate`` batches, prepared.

        Args:
            seed: the study's: together with the epoch it decides the order.
            epoch: epochs that the trial has trained before, from 0.
        """
        return _grouped(self._batches(seed, epoch), self._task.accumulate)

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the numbers of an epoch's examples on the CPU, ``[updates, accumulate, batch_size]``."""
        order = self._epoch.order(seed, epoch)
        return order.view(self.steps_per_epoch, self._task.accumulate, self._batch_size)

    def examples(self, index: Tensor) -> Batch:
        """Return training examples by their numbers, ``[examples]``, as a prepared batch."""
        inputs = self._gathered(index)
        targets = self._train.targets
        return inputs if targets is None else (inputs, rows(targets, index))

    def validation(self) -> Iterator[tuple[Batch, int]]:
        """Yield the validation split in batches, prepared, each with its number of examples."""
        size = _validation_rows(self._task, self._batch_size)
        # A generator, so that what preparing draws is drawn where the batches are taken.
        yield from _resident_validation(self._task, self._valid, self._prepared_valid, size)

    def test(self) -> Iterator[tuple[Batch, int]] | None:
        """Return the test split in batches as ``validation`` does; None where the task has none."""
        if self._test is None:
            return None
        return _streamed_whole(self._task, self._test, self._batch_size, self.device)

    def _batches(self, seed: int, epoch: int) -> Iterator[Batch]:
        order = self._epoch.order(seed, epoch).to(self.device)
        steps = self._gathered_steps()
        for index in torch.split(order, steps * self._batch_size):
            examples = self.examples(index)
            yield from [examples] if steps == 1 else parts(examples, self._batch_size)

    @cached_property
    def _prepared(self) -> Tree | None:
        return prepared_inputs(self._task, self._train.inputs, self.device)

    @cached_property
    def _prepared_valid(self) -> Tree | None:
        return prepared_inputs(self._task, self._valid.inputs, self.device)

    def _gathered(self, index: Tensor) -> Tree:
        """Return training inputs, prepared."""
        if self._prepared is not None:
            return rows(self._prepared, index)
        inputs = self._task.prepare(rows(self._train.inputs, index))
        if length(inputs) != len(index):
            raise TaskError(
                f"prepare(inputs) of {self._task.name} must return one row per input: it got "
                f"{len(index)}, and returned {length(inputs)}"
            )
        return inputs

    def _gathered_steps(self) -> int:
        """Return for how many batches the inputs are gathered at once."""
        if self._prepared is not None or not isinstance(self._train.inputs, Tensor):
            return 1  # what is prepared is used at once, while it is in the cache
        batch_bytes = max(1, size_bytes(self._train.inputs) * self._batch_size // len(self._train))
        return max(1, min(GATHERED_STEPS, GATHERED_BYTES // batch_bytes))


class StreamedData:
    """Splits that are read anew in every epoch, by ``torch.utils.data.DataLoader``.

    The order is that of ``ResidentData``. What is random in reading a batch depends on the seed, the epoch
    and the batch alone, whatever the number of workers; in validation it is always the same.

    Args:
        task: whose data.
        batch_size: examples per forward pass.
        device: where the batches go.
        splits: the task's, where they are read already.

    Raises:
        SpecError: if an update needs more examples than the training split has.
    """

    def __init__(
        self, task: Task, batch_size: int, device: torch.device, splits: Splits | None = None
    ) -> None:
        splits = splits or read_splits(task)
        self._task, self._batch_size = task, batch_size
        self._epoch = EpochPlan(task, batch_size, len(splits.train))
        self._train, self._valid, self._test = splits.train, splits.valid, splits.test
        self.device = device

    @property
    def fingerprint(self) -> None:
        """None: the examples are read anew in every epoch, and may be others each time."""
        return

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        return self._epoch.steps

    def updates(self, seed: int, epoch: int) -> Iterator[list[Batch]]:
        """Yield what each update of an epoch learns from: ``task.accumulate`` batches, prepared.

        Args:
            seed: the study's: together with the epoch it decides the order, and what is random in reading.
            epoch: epochs that the trial has trained before, from 0.
        """
        order = self._epoch.order(seed, epoch)
        requested = requests(order, self._batch_size, (seed, EXAMPLES, epoch))
        batches = streamed(self._task, self._train, requested, self.device)
        return _grouped(batches, self._task.accumulate)

    def validation(self) -> Iterator[tuple[Batch, int]]:
        """Yield the validation split in batches, prepared, each with its number of examples."""
        return _streamed_whole(self._task, self._valid, self._batch_size, self.device)

    def test(self) -> Iterator[tuple[Batch, int]] | None:
        """Return the test split in batches as ``validation`` does; None where the task has none."""
        if self._test is None:
            return None
        return _streamed_whole(self._task, self._test, self._batch_size, self.device)


def epoch_order(examples: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the training examples in an epoch: the same for all trials of a study."""
    return torch.randperm(
        examples, generator=torch.Generator().manual_seed(derived_seed(seed, BATCH_ORDER, epoch))
    )


def derived_seed(*numbers: int) -> int:
    """Return a 63-bit seed that depends on all numbers given; trailing zeros alone make no difference."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _resident(split: Split | DatasetSplit, device: torch.device) -> Split:
    if isinstance(split, DatasetSplit):
        return laid_out(split, device)
    return Split(moved(split.inputs, device), moved(split.targets, device))


def _resident_validation(
    task: Task, split: Split, prepared: Tree | None, size: int
) -> Iterator[tuple[Batch, int]]:
    for first in range(0, len(split), size):
        part = slice(first, first + size)
        # In copies, because a model may write into what it is given.
        inputs = mapped(torch.clone, rows(split.inputs if prepared is None else prepared, part))
        inputs = task.prepare(inputs) if prepared is None else inputs
        count = min(size, len(split) - first)
        targets = None if split.targets is None else mapped(torch.clone, rows(split.targets, part))
        yield inputs if targets is None else (inputs, targets), count


def _streamed_whole(
    task: Task, split: Split | DatasetSplit, batch_size: int, device: torch.device
) -> Iterator[tuple[Batch, int]]:
    """Return a whole split in batches, each with its number of examples."""
    requested = requests(torch.arange(len(split)), _validation_rows(task, batch_size), (EXAMPLES,))
    counts = [len(request.indices) for request in requested]
    return zip(streamed(task, split, requested, device), counts, strict=True)


def _grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    if size == 1:
        yield from ([batch] for batch in batches)
        return
    while group := list(islice(batches, size)):
        yield group


def _validation_rows(task: Task, batch_size: int) -> int:
    return task.validation_batch_size or VALIDATION_BATCHES * batch_size
