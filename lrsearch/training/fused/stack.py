"""Tensors of many lanes, stacked along a first dimension."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lrsearch.training.saved_lane import fill


class Stack:
    """Named tensors of up to ``capacity`` lanes; a lane's row changes only when lanes leave or are sorted.

    The memory is taken once and stays where it is: views of its first rows are contiguous, and a captured
    graph goes on finding them.

    Args:
        like: a lane's tensors by name, for shapes, dtypes and device.
        capacity: lanes at most, at least 1.
    """

    def __init__(self, like: Mapping[str, Tensor], capacity: int) -> None:
        self._capacity = capacity
        self._tensors = {name: _stacked(tensor, capacity) for name, tensor in like.items()}

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def add(self, like: Mapping[str, Tensor]) -> None:
        """Add further tensors, zero in all lanes."""
        self._tensors |= {name: _stacked(tensor, self._capacity) for name, tensor in like.items()}

    def rows(self, lanes: slice) -> dict[str, Tensor]:
        """Return views ``[lanes, ...]`` of some lanes by name."""
        return {name: tensor[lanes] for name, tensor in self._tensors.items()}

    def row(self, row: int) -> dict[str, Tensor]:
        """Return views of a lane's tensors by name."""
        return {name: tensor[row] for name, tensor in self._tensors.items()}

    def recall(self, row: int, values: Mapping[str, Tensor], device: torch.device) -> None:
        """Set a lane's tensors to saved ones; what does not exist yet is added, what was not saved is zero.

        Args:
            row: of the lane.
            values: by name.
            device: of the stack.

        Raises:
            MisfitError: if shapes differ.
        """
        missing = {name: value for name, value in values.items() if name not in self._tensors}
        if missing:
            self.add({name: value.to(device) for name, value in missing.items()})
        self.fill(row, {})
        fill({name: tensor for name, tensor in self.row(row).items() if name in values}, values)

    def fill(self, row: int, values: Mapping[str, Tensor]) -> None:
        """Set a lane's tensors; those without a value become zero."""
        for name, tensor in self._tensors.items():
            if name in values:
                tensor[row].copy_(values[name])
            else:
                tensor[row].zero_()

    def keep(self, rows: Sequence[int]) -> None:
        """Let the first lanes be those that stand in these rows, in this order."""
        if list(rows) == list(range(len(rows))):
            return
        for tensor in self._tensors.values():
            tensor[: len(rows)] = tensor[torch.tensor(rows, dtype=torch.int64, device=tensor.device)]

    def copy(self, lanes: int, device: torch.device) -> dict[str, Tensor]:
        """Return the first lanes' tensors as they are now, on a device."""
        return {name: tensor[:lanes].to(device, copy=True) for name, tensor in self._tensors.items()}

    def size_bytes(self) -> int:
        """Return the memory that the stack takes."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def restore(self, copy: Mapping[str, Tensor]) -> None:
        """Make the first lanes what they were when a copy was taken; what was added since becomes zero."""
        for name, tensor in self._tensors.items():
            if name in copy:
                tensor[: len(copy[name])].copy_(copy[name])
            else:
                tensor.zero_()


def of_lanes(values: Tensor, like: Tensor) -> Tensor:
    """Return one number per lane, ``[lanes]``, as a factor on a stacked tensor ``[lanes, ...]``."""
    return values.view(-1, *(1,) * (like.ndim - 1))


def _stacked(tensor: Tensor, capacity: int) -> Tensor:
    return torch.zeros((capacity, *tensor.shape), dtype=tensor.dtype, device=tensor.device)
