"""The values of the protocol refuse what no trainer could use."""

import pytest
import torch

from lrsearch.errors import InputError
from lrsearch.tasks.task import Split


def test_a_split_has_a_length() -> None:
    """The length of a split is its number of examples."""
    assert len(Split(torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))) == 3


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [((3, 2), (2,)), ((2, 2), (3,)), ((0, 2), (0,)), ((), ()), ((1,), ())],
)
def test_a_split_refuses_unpaired_or_no_examples(inputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    """Inputs and targets of different number, or none at all, are refused with their shapes."""
    with pytest.raises(InputError) as caught:
        Split(torch.zeros(inputs), torch.zeros(targets))
    assert f"inputs of shape {list(inputs)}, targets of shape {list(targets)}" in str(caught.value)
