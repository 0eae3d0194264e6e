"""Which data sets are read once and kept on the training device, and which are streamed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lrsearch.errors import TaskError
from lrsearch.tasks.datasets import DatasetSplit
from lrsearch.tasks.randomness import fixed_randomness, random_state
from lrsearch.tasks.task import Split, Task
from lrsearch.tasks.trees import Tree, description, leaves, length, mapped, moved, rows, same, size_bytes

RESIDENT_SHARE = 0.5  # of the device's free memory; model, gradients and activations need the rest
CHUNK_EXAMPLES = 256  # examples read at a time
PREPARED_SHARE = 0.1  # of the free memory, for inputs that are kept as the model takes them
PREPARED_SAMPLE = 16  # rows that show whether they may be
_PROBED_EXAMPLES = 4
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class _Chunks:
    """A split as a data set whose items are chunks of examples, read under fixed random numbers."""

    split: DatasetSplit

    def __len__(self) -> int:
        return -(-len(self.split) // CHUNK_EXAMPLES)

    def __getitem__(self, chunk: int) -> Tree:
        first = chunk * CHUNK_EXAMPLES
        with fixed_randomness(0):
            return self.split.batch(range(first, min(first + CHUNK_EXAMPLES, len(self.split))))


def streaming_reason(splits: Sequence[Split | DatasetSplit], device: torch.device) -> str | None:
    """Return why splits must be streamed, in words; None where they can be kept on the device.

    Args:
        splits: all that are read in training.
        device: where they would lie.
    """
    datasets = [split for split in splits if isinstance(split, DatasetSplit)]
    asked = {split.resident for split in datasets}
    if False in asked:
        return "resident=False was given"
    if asked == {True}:
        return None
    with fixed_randomness(0):
        return next(filter(None, map(_unfit, datasets)), None) or _excess(splits, device)


def laid_out(split: DatasetSplit, device: torch.device) -> Split:
    """Return all examples of a data set on a device.

    Raises:
        TaskError: examples differ in shape or dtype, or hold more than tensors and numbers.
    """
    if split.collate is not None:
        with fixed_randomness(0):
            return _split_of(moved(split.batch(range(len(split))), device))
    return _split_of(_filled(split, device))


def free_bytes(device: torch.device) -> int:
    """Return the memory of a device that is free: of a container's share, where that is less."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    return min(free, _free_in_container(free))


def _unfit(split: DatasetSplit) -> str | None:
    """Return what about the examples themselves forbids keeping them."""
    if split.collate is not None:
        return "a collate function makes its batches (resident=True lets it make one of all examples)"
    indices = range(min(_PROBED_EXAMPLES, len(split)))
    before = random_state()
    first = split.examples(indices)
    if random_state() != before:
        return "reading an example draws random numbers, as random augmentation does"
    if not same(first, split.examples(indices)):
        return "an example is another one when it is read again"
    others = {type(leaf).__name__ for leaf in leaves(split.batch(indices)) if not isinstance(leaf, Tensor)}
    return f"its examples hold values that are no tensors ({', '.join(sorted(others))})" if others else None


def _excess(splits: Sequence[Split | DatasetSplit], device: torch.device) -> str | None:
    needed = sum(_needed_bytes(split, device) for split in splits)
    limit = int(RESIDENT_SHARE * free_bytes(device))
    if needed <= limit:
        return None
    return (
        f"its {needed / 2**20:,.0f} MiB are more than {RESIDENT_SHARE:.0%} of the memory that is free on "
        f"{device} ({limit / 2**20:,.0f} MiB)"
    )


def _needed_bytes(split: Split | DatasetSplit, device: torch.device) -> int:
    if isinstance(split, DatasetSplit):
        return size_bytes(split.batch([0])) * len(split)
    return 0 if device.type == "cpu" else size_bytes((split.inputs, split.targets))


def _filled(split: DatasetSplit, device: torch.device) -> Tree:
    """Read a data set chunk by chunk into tensors that have their final size from the start."""
    filled: Tree = None
    first = 0
    for chunk in _chunks(split):
        if filled is None:
            filled = mapped(lambda leaf: _empty(leaf, len(split), device), chunk)
        try:
            mapped(lambda whole, part, row=first: _fill(whole, part, row), filled, chunk)
        except (ValueError, KeyError, TypeError) as error:
            raise TaskError(
                f"examples differ in shape or dtype ({description(rows(filled, 0))} and "
                f"{description(rows(chunk, 0))}); pass collate=, a function that pads a list of them"
            ) from error
        first += CHUNK_EXAMPLES
    return filled


def prepared_inputs(task: Task, inputs: Tree, device: torch.device) -> Tree | None:
    """Return a split's inputs as the task prepares them; None where they must be prepared batch by batch.

    On a CPU, preparing a batch can take as long as training a small model on it. All is prepared at once if
    ``prepare`` treats every row by itself and always alike, and the result takes a small part of the memory.
    """
    if device.type != "cpu" or not task.overrides("prepare"):
        return None
    count = length(inputs)
    sample = torch.arange(0, count, -(-count // PREPARED_SAMPLE))
    try:
        if not _prepares_row_by_row(task, inputs, sample):
            return None
        needed = size_bytes(task.prepare(rows(inputs, sample))) * count // len(sample)
        if needed > PREPARED_SHARE * free_bytes(device):
            return None
        parts = torch.split(torch.arange(count), CHUNK_EXAMPLES)
        return mapped(lambda *chunks: torch.cat(chunks), *(task.prepare(rows(inputs, i)) for i in parts))
    except Exception:  # what it raises on single rows need not be raised on batches, and else is raised there
        return None


def _prepares_row_by_row(task: Task, inputs: Tree, sample: Tensor) -> bool:
    """Return whether preparing some rows together, in another order and alone is the same, and not random."""
    before = random_state()
    together, reverse = task.prepare(rows(inputs, sample)), task.prepare(rows(inputs, sample.flip(0)))
    alone = task.prepare(rows(inputs, sample[-1:]))
    return (
        same(together, rows(reverse, torch.arange(len(sample)).flip(0)))
        and same(rows(together, slice(-1, None)), alone)
        and random_state() == before
    )


def _chunks(split: DatasetSplit) -> "DataLoader[Tree]":
    return DataLoader(
        _Chunks(split),  # type: ignore[arg-type]  # a data set by its methods
        batch_size=None,
        num_workers=split.num_workers,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # else the loader draws from the global one
    )


def _unchanged(batch: Tree) -> Tree:
    return batch


def _empty(leaf: Tensor, examples: int, device: torch.device) -> Tensor:
    if not isinstance(leaf, Tensor):
        raise TaskError(
            f"resident=True needs examples of tensors and numbers, but got a {type(leaf).__name__}"
        )
    return torch.empty((examples, *leaf.shape[1:]), dtype=leaf.dtype, device=device)


def _fill(whole: Tensor, part: Tensor, row: int) -> None:
    if whole.dtype != part.dtype or whole.shape[1:] != part.shape[1:]:
        raise ValueError
    whole[row : row + len(part)] = part


def _split_of(batch: Tree) -> Split:
    return Split(*batch) if isinstance(batch, tuple) and len(batch) == 2 else Split(batch)


def _free_in_container(otherwise: int) -> int:
    """Return what the control group of this process may still take (Linux, version 2)."""
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no control group, or no limit ("max")
        return otherwise
