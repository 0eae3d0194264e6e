"""Trees of tensors: rows, parts and structure are those of every tensor in them."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import InputError
from lrsearch.tasks import trees


class Point(NamedTuple):
    """A named tuple as users have them."""

    x: torch.Tensor
    y: torch.Tensor


def tree_strategy(rows):
    """Return trees of tensors with that number of rows."""
    leaf = st.integers(1, 3).map(lambda width: torch.arange(rows * width).reshape(rows, width))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=2),
            st.tuples(inner, inner),
            st.builds(Point, inner, inner),
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2),
        ),
        max_leaves=4,
    )


def structure(tree):
    """Return a tree's structure without its values."""
    if isinstance(tree, dict):
        return {key: structure(value) for key, value in tree.items()}
    return (
        (type(tree), [structure(each) for each in tree]) if isinstance(tree, list | tuple) else torch.Tensor
    )


@settings(max_examples=40)
@given(tree=tree_strategy(7), size=st.integers(1, 9))
def test_parts_put_together_are_the_whole(tree, size):
    """Cut into parts and concatenated, a tree is what it was, in values and structure."""
    pieces = list(trees.parts(tree, size))
    whole = trees.mapped(lambda *tensors: torch.cat(tensors), *pieces)
    assert [trees.length(piece) for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert trees.same(whole, tree)
    assert structure(whole) == structure(tree)


@settings(max_examples=40)
@given(tree=tree_strategy(5), index=st.lists(st.integers(0, 4), min_size=1))
def test_rows_are_taken_from_every_tensor(tree, index):
    """Each leaf of the chosen rows is that leaf indexed."""
    chosen = trees.rows(tree, torch.tensor(index))
    for part, whole in zip(trees.leaves(chosen), trees.leaves(tree), strict=True):
        assert torch.equal(part, whole[index])
    assert structure(chosen) == structure(tree)


def test_a_tree_moves_with_all_that_can_be_moved():
    """Tensors and packed sequences go to the device; a string stays."""
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3, 1), torch.ones(2, 1)])
    moved = trees.moved({"x": torch.ones(2), "packed": packed, "text": "abc"}, torch.device("meta"))
    assert moved["x"].device.type == "meta"
    assert moved["packed"].data.device.type == "meta"
    assert moved["text"] == "abc"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": torch.ones(2), "b": torch.ones(3)}, r"same number of rows, .* \{'a': \[2\], 'b': \[3\]\}"),
        ([torch.ones(2), 5], "must be tensors, or tuples, lists or dicts of them, but got a int"),
        ({}, "same number of rows"),
    ],
)
def test_a_tree_without_common_rows_has_no_length(tree, message):
    """The error shows the shapes, or the leaf that is no tensor."""
    with pytest.raises(InputError, match=message):
        trees.length(tree)


def test_the_same_means_structure_dtype_and_values():
    """NaN equals itself; another dtype, shape, key or leaf is another tree."""
    one = {"a": torch.tensor([1.0, torch.nan]), "b": "text"}
    assert trees.same(one, {"a": torch.tensor([1.0, torch.nan]), "b": "text"})
    assert not trees.same(one, {"a": torch.tensor([1.0, 2.0]), "b": "text"})
    assert not trees.same(one, {"a": torch.tensor([1.0, torch.nan]), "b": "other"})
    assert not trees.same(one, {"a": torch.tensor([1.0, torch.nan])})
    assert not trees.same(torch.ones(2), torch.ones(2, dtype=torch.float64))
    assert not trees.same([torch.ones(2)], [torch.ones(2), torch.ones(2)])


def test_a_description_has_shape_dtype_and_device():
    """It is what an error message shows of a batch."""
    text = trees.description(({"ids": torch.ones(2, 3, dtype=torch.int64)}, torch.ones(2), None))
    assert text == "({'ids': int64 [2, 3] on cpu}, float32 [2] on cpu, NoneType)"
