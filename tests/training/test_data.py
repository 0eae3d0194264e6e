"""Data on the device and streamed: the same batches in the same order, and what decides between them."""

import logging
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

from lrsearch.errors import SpecError, TaskError
from lrsearch.tasks import trees
from lrsearch.tasks.datasets import DatasetSplit
from lrsearch.tasks.randomness import random_state
from lrsearch.tasks.task import Split, Splits, Task
from lrsearch.training import residence
from lrsearch.training.data import ResidentData, StreamedData, epoch_order, load_data
from tests.tasks.plain import (
    Noisy,
    Pairs,
    SequenceModel,
    Sequences,
    linear_model,
    padded,
    regression,
    regression_data,
)

CPU = torch.device("cpu")
MSE = nn.functional.mse_loss
FORMS = {
    "tensor": lambda x, y: (x, y),
    "tuple": lambda x, y: ((x[:1], x[1:]), y),
    "dict": lambda x, y: ({"first": x[:1], "rest": x[1:]}, y),
    "no targets": lambda x, y: {"x": x, "y": y},
    "three": lambda x, y: (x, y, x.sum()),
    "named": lambda x, y: namedtuple("Point", "x y z")(x, y, y),
}


def of_datasets(train, valid=None, **options):
    """Return a task of data sets."""
    valid = valid if valid is not None else Pairs(*regression_data(40, seed=1))
    options = {"loss": MSE, "batch_size": 8, **options}
    return Task.from_datasets(linear_model, train, valid, **options)


def all_updates(data, seed=0, epoch=0):
    """Return an epoch's updates in a list."""
    return list(data.updates(seed, epoch))


def same(one, other):
    """Return whether lists of updates have the same batches."""
    return len(one) == len(other) and all(trees.same(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=40)
@given(
    examples=st.integers(1, 90),
    batch_size=st.integers(1, 20),
    accumulate=st.integers(1, 4),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
def test_an_epoch_is_its_order_cut_into_updates(examples, batch_size, accumulate, seed, epoch):
    """Updates are of batch_size x accumulate examples in the epoch's order; what fills none is dropped."""
    numbers = torch.arange(examples, dtype=torch.float32)
    task = regression(train=(numbers, numbers), accumulate=accumulate)
    if batch_size * accumulate > examples:
        with pytest.raises(SpecError, match=f"at most the {examples} training examples"):
            ResidentData(task, batch_size, CPU)
        return
    data = ResidentData(task, batch_size, CPU)
    updates = all_updates(data, seed, epoch)
    assert len(updates) == data.steps_per_epoch == examples // (batch_size * accumulate)
    assert all(len(update) == accumulate for update in updates)
    seen = torch.cat([inputs for update in updates for inputs, _targets in update])
    assert torch.equal(seen, numbers[epoch_order(examples, seed, epoch)][: len(seen)])
    assert all(len(inputs) == batch_size for update in updates for inputs, _targets in update)
    assert torch.equal(seen, torch.cat([targets for update in updates for _inputs, targets in update]))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_streamed_and_resident_data_are_the_same(form, accumulate):
    """Every form of example gives the same batches in training and validation, streamed or resident."""
    train, valid = (Pairs(*regression_data(n, seed=n), FORMS[form]) for n in (70, 45))
    task = {
        resident: of_datasets(train, valid, resident=resident, accumulate=accumulate)
        for resident in (True, False)
    }
    resident, streamed = (load_data(task[kind], 8, CPU) for kind in (True, False))
    assert isinstance(resident, ResidentData)
    assert isinstance(streamed, StreamedData)
    assert resident.steps_per_epoch == streamed.steps_per_epoch == 70 // (8 * accumulate)
    for seed, epoch in [(0, 0), (0, 1), (5, 0)]:
        assert same(all_updates(resident, seed, epoch), all_updates(streamed, seed, epoch))
    assert not same(all_updates(resident, 0, 0), all_updates(resident, 0, 1))
    assert same(list(resident.validation()), list(streamed.validation()))
    assert sum(examples for _batch, examples in streamed.validation()) == 45


def trained_losses(task, data, epochs=3):
    """Return the losses of plain SGD with dropout, whose random numbers are the global ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(task.build_model(), nn.Dropout(0.3), nn.Linear(1, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        losses = []
        for epoch in range(epochs):
            for [batch] in data.updates(0, epoch):
                optimizer.zero_grad()
                loss = task.training_step(model, batch)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    return losses


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_on_streamed_data_gives_the_resident_losses(num_workers):
    """To the last bit, also where the model draws random numbers, with and without worker processes."""
    train = TensorDataset(*regression_data(40))
    resident, streamed = (
        of_datasets(train, resident=kind, num_workers=num_workers) for kind in (True, False)
    )
    losses = trained_losses(resident, load_data(resident, 8, CPU), epochs=2)
    assert losses == trained_losses(streamed, load_data(streamed, 8, CPU), epochs=2)
    assert len(losses) == 10


def test_what_is_random_in_reading_depends_on_seed_and_epoch_alone():
    """Not on the number of workers, nor on the global generators; each example draws numbers of its own."""

    def read(num_workers=0, seed=0, epoch=0):
        return all_updates(load_data(of_datasets(Noisy(), num_workers=num_workers), 8, CPU), seed, epoch)

    first = read()
    torch.rand(3), np.random.rand(3), random.random()
    assert same(first, read())
    assert same(first, read(num_workers=2))
    noise = torch.cat([inputs[:, 1:] for [(inputs, _targets)] in first])
    assert len(noise.unique()) == noise.numel()
    for other in (read(epoch=1), read(seed=1)):
        others = torch.cat([inputs[:, 1:] for [(inputs, _targets)] in other])
        assert not np.isin(noise.numpy(), others.numpy()).any()


def test_random_validation_data_are_the_same_every_time():
    """Trials and epochs are compared on one set of examples."""
    data = load_data(of_datasets(Noisy(), Noisy(10)), 8, CPU)
    assert same(list(data.validation()), list(data.validation()))


@pytest.mark.parametrize("resident", [True, False])
def test_reading_leaves_the_global_random_state_alone(resident):
    """The user's own random numbers, and the model's, do not depend on how data are read."""
    before = random_state()
    data = load_data(of_datasets(Noisy(), Noisy(10), resident=resident), 8, CPU)
    all_updates(data)
    list(data.validation())
    assert random_state() == before


def test_a_data_set_that_fits_is_read_once(caplog):
    """Its examples are read into memory and never again; nothing need be said."""
    train = Pairs(*regression_data(40))
    with caplog.at_level(logging.INFO):
        data = load_data(of_datasets(train), 8, CPU)
    assert isinstance(data, ResidentData)
    reads = train.reads
    for epoch in range(3):
        all_updates(data, epoch=epoch)
    assert train.reads == reads
    assert caplog.messages == []


class Changing(Pairs):
    """A data set with a generator of its own, so that no example is the same twice."""

    def __getitem__(self, index):
        inputs, targets = super().__getitem__(index)
        return inputs + self.reads, targets


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"train": Noisy()}, "draws random numbers"),
        ({"train": Changing(*regression_data(40))}, "another one when it is read again"),
        ({"collate": torch.utils.data.default_collate}, "a collate function makes its batches"),
        ({"resident": False}, "resident=False was given"),
        ({"train": Pairs(*regression_data(40), lambda x, y: {"x": x, "y": y, "t": "a"})}, "no tensors (str)"),
    ],
)
def test_why_data_are_streamed_is_said_once(caplog, options, reason):
    """One line in the log names the task and the reason."""
    options = {"train": Pairs(*regression_data(40)), "name": "mine", **options}
    with caplog.at_level(logging.INFO):
        data = load_data(of_datasets(**options), 8, CPU)
        all_updates(data)
    assert isinstance(data, StreamedData)
    [message] = caplog.messages
    assert message.startswith("the data of mine are streamed: ")
    assert reason in message


@pytest.mark.parametrize(("free", "kind"), [(2 * 16 * 80 + 1, ResidentData), (2 * 16 * 80 - 2, StreamedData)])
def test_data_are_kept_up_to_half_of_the_free_memory(monkeypatch, caplog, free, kind):
    """Training and validation split together count: 80 examples of 16 bytes."""
    monkeypatch.setattr(residence, "free_bytes", lambda _device: free)
    with caplog.at_level(logging.INFO):
        data = load_data(of_datasets(Pairs(*regression_data(40))), 8, CPU)
    assert isinstance(data, kind)
    assert ("50% of the memory that is free on cpu" in caplog.text) == (kind is StreamedData)


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    """Free memory is what the control group leaves, where that is less than the machine's."""
    monkeypatch.setattr(residence, "_CGROUP", tmp_path)
    whole = residence.free_bytes(CPU)
    assert whole > 1000
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    assert residence.free_bytes(CPU) == 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert residence.free_bytes(CPU) > 1000


@pytest.mark.parametrize("resident", [None, True])
def test_examples_of_different_length_need_a_collate_function(resident):
    """The error says what it must do."""
    task = of_datasets(Sequences(), Sequences(seed=1), resident=resident)
    with pytest.raises(TaskError, match=r"equal size.* pass collate="):
        load_data(task, 8, CPU)


def test_examples_that_change_shape_late_need_a_collate_function(monkeypatch):
    """The difference may lie between chunks that are read one after the other."""
    monkeypatch.setattr(residence, "CHUNK_EXAMPLES", 4)
    items = [torch.ones(3)] * 8 + [torch.ones(2)] * 8
    task = of_datasets(Pairs(items, items), resident=True)
    with pytest.raises(TaskError, match=r"differ in shape or dtype .*\[3\].*\[2\].* pass collate="):
        load_data(task, 8, CPU)


def test_data_that_cannot_be_read_are_told_in_the_users_frames():
    """The text has the user's exception and line, and nothing of lrsearch."""

    def broken(_x, _y):
        raise FileNotFoundError("no images/7.png")

    with pytest.raises(TaskError, match="data of mine cannot be read") as caught:
        load_data(of_datasets(Pairs(*regression_data(40), broken), name="mine"), 8, CPU)
    assert str(caught.value).endswith("FileNotFoundError: no images/7.png")
    assert "in broken" in str(caught.value)
    assert "residence.py" not in str(caught.value)


@pytest.mark.parametrize("resident", [None, True])
def test_sequences_of_different_length_can_be_learned(resident):
    """Padded per batch when streamed, all together when resident; either learns to sum."""
    options = {"collate": padded, "resident": resident, "batch_size": 8}
    task = Task.from_datasets(SequenceModel, Sequences(), Sequences(seed=1), loss=MSE, **options)
    data = load_data(task, 8, CPU)
    assert isinstance(data, ResidentData if resident else StreamedData)
    torch.manual_seed(0)
    model = task.build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    def valid_loss():
        with torch.no_grad():
            figures = [(task.validation_step(model, batch)["loss"], n) for batch, n in data.validation()]
        return float(sum(loss * n for loss, n in figures)) / sum(n for _loss, n in figures)

    before = valid_loss()
    for epoch in range(15):
        for [batch] in data.updates(0, epoch):
            optimizer.zero_grad()
            task.training_step(model, batch).backward()
            optimizer.step()
    assert valid_loss() < 0.3 * before


class Preparing(Task):
    """A task that prepares, and records how many rows it is given at a time."""

    def __init__(self, form="tensor", examples=1200):
        self.form, self.examples, self.sizes = form, examples, []

    def splits(self):
        """Return numbers."""
        inputs = torch.arange(self.examples)[:, None].repeat(1, 3)
        inputs = inputs if self.form == "tensor" else (inputs,)
        return Splits(Split(inputs, torch.arange(self.examples)), Split(inputs, torch.arange(self.examples)))

    def prepare(self, inputs):
        """Return floats in a dict."""
        self.sizes.append(trees.length(inputs))
        return {"x": next(trees.leaves(inputs)).float() / 2}


PROBES = 4  # calls that find out whether all can be prepared at once


@pytest.mark.parametrize(("form", "rows"), [("tensor", [256, 256, 256, 256, 176]), ("tuple", [8] * 150)])
def test_plain_tensors_are_prepared_many_steps_at_once(monkeypatch, form, rows):
    """Where all does not fit, 32 steps of a plain tensor are gathered; the batches do not show it."""
    monkeypatch.setattr("lrsearch.training.residence.PREPARED_SHARE", 0)
    task = Preparing(form)
    updates = all_updates(ResidentData(task, 8, CPU))
    assert task.sizes[PROBES:] == rows
    for [(inputs, targets)] in updates:
        assert torch.equal(inputs["x"][:, 0] * 2, targets.float())


def test_what_is_gathered_at_once_is_bounded_in_bytes(monkeypatch):
    """Large inputs are gathered in fewer steps, at least one."""
    monkeypatch.setattr("lrsearch.training.data.GATHERED_BYTES", 3 * 8 * 8 * 2)
    monkeypatch.setattr("lrsearch.training.residence.PREPARED_SHARE", 0)
    task = Preparing()
    all_updates(ResidentData(task, 8, CPU))
    assert set(task.sizes[PROBES:]) == {16}


@pytest.mark.parametrize("form", ["tensor", "tuple"])
def test_what_is_prepared_row_by_row_is_prepared_once(form):
    """A second epoch prepares nothing, and its batches are what prepare() gives."""
    task = Preparing(form)
    data = ResidentData(task, 8, CPU)
    all_updates(data)
    first = len(task.sizes)
    for [(inputs, targets)] in all_updates(data):
        assert torch.equal(inputs["x"], (targets[:, None].repeat(1, 3)).float() / 2)
    assert len(task.sizes) == first


def test_a_model_that_writes_into_its_inputs_spoils_no_later_batch():
    """What is kept prepared is handed out in copies, for training and for validation."""
    data = ResidentData(Preparing(), 8, CPU)
    first = [batch["x"].clone() for (batch, _targets), _count in data.validation()]
    for (batch, _targets), _count in data.validation():
        batch["x"].zero_()
    for [(inputs, _targets)] in data.updates(0, 0):
        inputs["x"].zero_()
    assert all(
        torch.equal(batch["x"], before)
        for ((batch, _targets), _count), before in zip(data.validation(), first, strict=True)
    )
    assert all((inputs["x"] != 0).any() or targets.eq(0).any() for [(inputs, targets)] in data.updates(0, 0))


@pytest.mark.parametrize(
    "prepare",
    [
        lambda inputs: {"x": inputs + torch.rand(())},
        lambda inputs: {"x": inputs - inputs.float().mean(0)},
        lambda inputs: {"x": inputs.float() / len(inputs)},
        lambda inputs: {"x": inputs.float().std(0, correction=1).expand(inputs.shape)},
    ],
    ids=["random", "centred", "by-count", "undefined-for-one-row"],
)
def test_what_depends_on_chance_or_on_other_rows_is_prepared_batch_by_batch(prepare):
    """Such a prepare() is called for every gather, as without any keeping."""
    task, calls = Preparing(), []
    task.prepare = lambda inputs: calls.append(len(inputs)) or prepare(inputs)
    data = ResidentData(task, 8, CPU)
    all_updates(data)
    first = len(calls)
    all_updates(data)
    assert calls[first:] == [256, 256, 256, 256, 176]


@pytest.mark.parametrize(("stated", "rows"), [(None, 32), (10, 10)])
def test_validation_takes_four_batch_sizes_at_once_unless_told(stated, rows):
    """The last batch has the rest."""
    task = Preparing(examples=45)
    task.validation_batch_size = stated
    sizes = [examples for _batch, examples in ResidentData(task, 8, CPU).validation()]
    assert sizes == [rows] * (45 // rows) + [45 % rows]


def test_preparing_must_keep_the_rows():
    """A prepare() that drops some is refused, with the numbers."""

    class Dropping(Preparing):
        def prepare(self, inputs):
            return inputs[1:]

    with pytest.raises(TaskError, match=r"prepare\(inputs\) of Dropping .* got 256, and returned 255"):
        all_updates(ResidentData(Dropping(), 8, CPU))


def test_a_random_split_is_the_same_in_every_worker():
    """splits() runs under fixed random numbers, so that it may call torch.randperm."""

    class Random(Task):
        def splits(self):
            order = torch.randperm(50)
            return Splits(Split(order[:40], order[:40]), Split(order[40:], order[40:]))

    first, second = (all_updates(ResidentData(Random(), 8, CPU)) for _ in range(2))
    assert same(first, second)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1, 2], r"must return Splits\(train, valid, test\), but returned a list"),
        (Splits((torch.ones(3), torch.ones(3)), 3), r"train must be Split\(inputs, targets\) or .* a tuple"),
    ],
)
def test_splits_that_are_none_are_refused(returned, message):
    """The error names the method and what it returned."""

    class Wrong(Task):
        def splits(self):
            return returned

    with pytest.raises(TaskError, match=message):
        load_data(Wrong(), 8, CPU)


@pytest.mark.parametrize("resident", [True, False])
def test_an_update_cannot_exceed_the_training_split(resident):
    """Accumulated batches count; the error has both numbers."""
    task = of_datasets(Pairs(*regression_data(40)), resident=resident, accumulate=6, name="mine")
    rule = "batch_size x accumulate must be at most the 40 training examples of mine, but got 8 x 6"
    with pytest.raises(SpecError, match=rule):
        load_data(task, 8, CPU)


def test_a_class_may_hold_data_sets_too():
    """A task of the user's own class returns DatasetSplits from splits(), mixed with Splits."""

    class Mine(Task):
        def splits(self):
            return Splits(DatasetSplit(Noisy()), Split(*regression_data(10)))

    data = load_data(Mine(), 8, CPU)
    assert isinstance(data, StreamedData)
    [(batch, examples)] = data.validation()
    assert trees.same(batch, regression_data(10))
    assert examples == 10
