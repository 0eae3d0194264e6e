"""Image classification: its inputs, its loss and its metric."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.tasks import load_task
from lrsearch.tasks.classification import accuracy
from lrsearch.tasks.task import Split, Task


@pytest.fixture
def task() -> Task:
    """Return a task; what is tested here is the same in all."""
    return load_task("mnist-mlp", Path("unused"))


def test_black_and_white_pixels_are_normalised(task: Task) -> None:
    """A pixel p becomes (p / 255 - mean) / std, with a channel before height and width."""
    prepared = task.prepare(torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8))
    expected = [[(value - 0.1307) / 0.3081 for value in row] for row in [[0.0, 1.0], [0.2, 0.4]]]
    torch.testing.assert_close(prepared, torch.tensor([[expected]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_come_in_the_default_dtype(task: Task, dtype: torch.dtype) -> None:
    """Inputs have the dtype in which torch builds models, so that a float64 run is one throughout."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        prepared = task.prepare(torch.full((1, 28, 28), 7, dtype=torch.uint8))
        assert task.build_model()(prepared).dtype == dtype
    finally:
        torch.set_default_dtype(before)


def test_preparing_leaves_the_stored_images_alone(task: Task) -> None:
    """The raw images are not changed."""
    images = torch.full((2, 28, 28), 9, dtype=torch.uint8)
    task.prepare(images)
    assert torch.equal(images, torch.full((2, 28, 28), 9, dtype=torch.uint8))


@settings(max_examples=30)
@given(examples=st.integers(1, 20), seed=st.integers(0, 2**16))
def test_loss_is_the_mean_negative_log_probability(examples: int, seed: int) -> None:
    """The loss equals the mean of -log softmax at the target, computed in plain Python."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(examples, 10, generator=generator, dtype=torch.float64) * 5
    targets = torch.randint(10, (examples,), generator=generator)
    rows = zip(outputs.tolist(), targets.tolist(), strict=True)
    losses = [math.log(sum(math.exp(score) for score in row)) - row[target] for row, target in rows]
    loss = load_task("digits-mlp", Path("unused")).loss(outputs, targets)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(sum(losses) / examples)


@settings(max_examples=30)
@given(examples=st.integers(1, 20), seed=st.integers(0, 2**16))
def test_accuracy_is_the_share_of_right_guesses(examples: int, seed: int) -> None:
    """Accuracy equals a count in plain Python."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(examples, 3, generator=generator)
    targets = torch.randint(3, (examples,), generator=generator)
    rows = zip(outputs.tolist(), targets.tolist(), strict=True)
    right = sum(row.index(max(row)) == target for row, target in rows)
    assert accuracy(outputs, targets).item() == pytest.approx(right / examples)


def test_metrics_work_under_vmap() -> None:
    """Loss and accuracy can be taken for many lanes at once, on shared targets."""
    task = load_task("digits-mlp", Path("unused"))
    outputs, targets = torch.randn(4, 6, 10), torch.arange(6)
    for function in (task.loss, task.metrics["accuracy"]):
        together = torch.vmap(function, in_dims=(0, None))(outputs, targets)
        torch.testing.assert_close(together, torch.stack([function(lane, targets) for lane in outputs]))


def test_the_digits_can_be_learned() -> None:
    """Some epochs of plain SGD on the digits' training split recognise most of the validation split."""
    task = load_task("digits-mlp", Path("unused"))
    splits = task.splits()
    torch.manual_seed(0)
    model = task.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for rows in torch.randperm(len(splits.train)).split(task.batch_size):
            optimizer.zero_grad()
            task.loss(model(task.prepare(splits.train.inputs[rows])), splits.train.targets[rows]).backward()
            optimizer.step()
    assert _accuracy(task, model, splits.valid) > 0.9


def _accuracy(task: Task, model: torch.nn.Module, split: Split) -> float:
    with torch.no_grad():
        return float(task.metrics["accuracy"](model(task.prepare(split.inputs)), split.targets))
