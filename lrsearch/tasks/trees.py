"""Trees of tensors: a tensor, or a tuple, list or dict of trees, as models with several inputs take them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lrsearch.errors import InputError

Tree = Any
"""A tensor, or a tuple, list or dict of trees. Batches may hold other leaves, which only their task reads."""


def mapped(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Return a tree of what a function makes of each leaf.

    Args:
        function: takes a leaf of each tree.
        tree: gives the structure.
        others: trees of the same structure.
    """
    if isinstance(tree, Mapping):
        return {
            key: mapped(function, value, *(other[key] for other in others)) for key, value in tree.items()
        }
    if not isinstance(tree, list | tuple) or hasattr(
        tree, "to"
    ):  # a packed sequence is a tuple that moves whole
        return function(tree, *others)
    values = [mapped(function, *parts) for parts in zip(tree, *others, strict=True)]
    if hasattr(tree, "_fields"):
        return type(tree)(*values)
    return values if isinstance(tree, list) else tuple(values)


def leaves(tree: Tree) -> Iterator[Any]:
    """Yield the leaves of a tree from left to right."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    elif not isinstance(tree, list | tuple) or hasattr(tree, "to"):
        yield tree
        return
    for value in tree:
        yield from leaves(value)


def length(tree: Tree) -> int:
    """Return the number of rows, which all tensors of a tree share.

    Raises:
        InputError: a leaf is no tensor or has no rows, there is no leaf, or they differ in length.
    """
    tensors = list(leaves(tree))
    for leaf in tensors:
        if not isinstance(leaf, Tensor):
            raise InputError(
                "inputs and targets must be tensors, or tuples, lists or dicts of them, but got a "
                f"{type(leaf).__name__}; torch.as_tensor(...) makes a tensor of an array, and data sets go "
                "into Task.from_datasets(...), or into lrsearch.DatasetSplit(...) in a task of your own"
            )
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in tensors}
    if len(lengths) != 1:
        raise InputError(f"all tensors need the same number of rows, but got shapes {shapes(tree)}")
    return int(lengths.pop())


def rows(tree: Tree, index: Tensor | slice | int) -> Tree:
    """Return some rows of every tensor of a tree, chosen by their numbers or a slice, or a single one."""
    if isinstance(index, Tensor):  # then index_select is twice as fast as leaf[index]
        if isinstance(tree, Tensor):
            return tree.index_select(0, index)
        return mapped(lambda leaf: leaf.index_select(0, index), tree)
    return mapped(lambda leaf: leaf[index], tree)


def parts(tree: Tree, size: int) -> Iterator[Tree]:
    """Yield the rows of a tree in order, ``size`` at a time; the last part may be shorter."""
    if isinstance(tree, Tensor):
        yield from torch.split(tree, size)
        return
    for first in range(0, length(tree), size):
        yield rows(tree, slice(first, first + size))


def moved(tree: Tree, device: torch.device) -> Tree:
    """Return a tree on a device; leaves that cannot be moved, such as strings, are left as they are."""
    return mapped(lambda leaf: leaf.to(device) if hasattr(leaf, "to") else leaf, tree)


def size_bytes(tree: Tree) -> int:
    """Return the memory that the tensors of a tree take."""
    return sum(leaf.nbytes for leaf in leaves(tree) if isinstance(leaf, Tensor))


def same(one: Tree, other: Tree) -> bool:
    """Return whether two trees have the same structure and leaves, NaN being equal to itself."""
    try:
        return all(leaves(mapped(_same_leaf, one, other)))
    except (ValueError, KeyError, TypeError, IndexError):  # another structure
        return False


def shapes(tree: Tree) -> str:
    """Return the shapes of a tree's tensors as text, such as ``{'ids': [32, 7], 'mask': [32, 7]}``."""
    return _text(tree, lambda leaf: str(list(leaf.shape)))


def description(tree: Tree) -> str:
    """Return shape, dtype and device of a tree's tensors as text, such as ``float32 [32, 7] on cpu``."""
    return _text(
        tree, lambda leaf: f"{str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)} on {leaf.device}"
    )


def _text(tree: Tree, of_tensor: Callable[[Tensor], str]) -> str:
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key!r}: {_text(value, of_tensor)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list | tuple) and not hasattr(tree, "to"):
        return "(" + ", ".join(_text(value, of_tensor) for value in tree) + ")"
    return of_tensor(tree) if isinstance(tree, Tensor) else type(tree).__name__


def _same_leaf(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if not isinstance(one, Tensor):
        return bool(one == other)
    return one.dtype == other.dtype and one.shape == other.shape and _equal_values(one, other)


def _equal_values(one: Tensor, other: Tensor) -> bool:
    equal = one == other
    return bool((equal | (one.isnan() & other.isnan()) if one.is_floating_point() else equal).all())
