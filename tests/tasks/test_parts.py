"""Tasks made from plain parts, and the defaults that every task has."""

import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from lrsearch.errors import InputError, TaskError
from lrsearch.tasks.datasets import DatasetSplit
from lrsearch.tasks.task import Split, Splits, Task
from tests.tasks.plain import Pairs, linear_model, mae, regression, regression_data

MSE = nn.functional.mse_loss


class TwoInputs(nn.Module):
    """A model that takes two arguments by name."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, first, second):
        """Return one number per example."""
        return self.layer(torch.cat([first, second], dim=1))


def own_step(model, batch):
    """Return a loss that no pair of outputs and targets gives."""
    inputs, targets = batch
    return MSE(model(inputs), targets) + 0.1 * model.weight.abs().sum()


def test_a_task_of_tensors_is_what_was_passed():
    """Model, data, loss, metrics and settings are the parts."""
    task = regression(
        metrics={"mae": mae}, name="plane", batch_size=8, epochs=3, clip_norm=1.0, accumulate=2, amp=True
    )
    assert (task.name, task.batch_size, task.epochs) == ("plane", 8, 3)
    assert (task.clip_norm, task.accumulate, task.amp) == (1.0, 2, True)
    splits = task.splits()
    assert torch.equal(splits.train.inputs, regression_data()[0])
    assert (len(splits.train), len(splits.valid), splits.test) == (64, 40, None)
    model, batch = task.build_model(), regression_data(10)
    outputs = model(batch[0])
    assert torch.equal(task.training_step(model, batch), MSE(outputs, batch[1]))
    figures = task.validation_step(model, batch)
    assert figures.keys() == {"loss", "mae"}
    assert torch.equal(figures["mae"], (outputs - batch[1]).abs().mean())


@pytest.mark.parametrize(
    ("factory", "name"),
    [(linear_model, "linear_model"), (partial(nn.Linear, 3, 1), "Linear"), (lambda: None, "task")],
)
def test_a_task_without_name_takes_the_models(factory, name):
    """The factory's name is the task's, where it has one."""
    assert regression(model_factory=factory).name == name


def test_a_subclass_has_its_classes_name_until_it_has_another():
    """Derived classes name themselves; an explicit name is inherited."""

    class Mine(Task):
        pass

    class Named(Task):
        name = "something"

    class Derived(Named):
        pass

    assert (Mine().name, Mine.name, Named().name, Derived().name) == (
        "Mine",
        "Mine",
        "something",
        "something",
    )


def test_several_inputs_are_arguments():
    """A tuple's are positional, a dict's named; both give the same."""
    task, model = regression(), TwoInputs()
    first, second = torch.randn(4, 1), torch.randn(4, 1)
    expected = model(first, second)
    assert torch.equal(task.forward(model, (first, second)), expected)
    assert torch.equal(task.forward(model, [first, second]), expected)
    assert torch.equal(task.forward(model, {"second": second, "first": first}), expected)


def test_an_own_training_step_trains_and_the_loss_validates():
    """Where both are given, validation knows nothing of the regularisation that training adds."""
    batch = regression_data(10)
    task = regression(training_step=own_step, metrics={"mae": mae})
    model = task.build_model()
    assert torch.equal(task.training_step(model, batch), own_step(model, batch))
    assert torch.equal(task.validation_step(model, batch)["loss"], MSE(model(batch[0]), batch[1]))


@pytest.mark.parametrize("metrics", [{}, {"mae": mae}])
def test_an_own_training_step_alone_validates_too(metrics):
    """Without a loss the step's result is the validation loss; metrics are as ever."""
    batch = regression_data(10)
    task = regression(loss=None, training_step=own_step, metrics=metrics)
    model = task.build_model()
    figures = task.validation_step(model, batch)
    assert torch.equal(figures["loss"], own_step(model, batch))
    assert figures.keys() == {"loss", *metrics}


def test_a_subclass_may_override_the_training_step_alone():
    """The same holds for a class, with batches that are no pairs."""

    class OfDicts(Task):
        def training_step(self, model, batch):
            return MSE(model(batch["x"]), batch["y"])

    inputs, targets = regression_data(10)
    model, batch = linear_model(), {"x": inputs, "y": targets}
    assert OfDicts().validation_step(model, batch).keys() == {"loss"}
    assert torch.equal(OfDicts().validation_step(model, batch)["loss"], MSE(model(inputs), targets))


@pytest.mark.parametrize("batch", [{"x": torch.ones(2, 3)}, torch.ones(2, 3), (torch.ones(2),) * 3])
def test_a_loss_needs_pairs(batch):
    """A batch that is none is described, with the ways out."""
    with pytest.raises(TaskError, match=r"need batches \(inputs, targets\), but a batch is a .* of shape"):
        regression().training_step(linear_model(), batch)


@pytest.mark.parametrize(
    ("call", "method"),
    [
        (lambda task: task.build_model(), "build_model"),
        (lambda task: task.splits(), "splits"),
        (lambda task: task.training_step(linear_model(), regression_data(4)), "loss"),
    ],
)
def test_what_a_subclass_lacks_is_named(call, method):
    """The error names class and method, and says what the method returns."""

    class Mine(Task):
        pass

    with pytest.raises(TaskError, match=rf"Mine: define {method}\(self.*\), which returns"):
        call(Mine())


@pytest.mark.parametrize("step", [None, own_step])
def test_a_task_of_picklable_parts_can_be_pickled(step):
    """The copy has the same data, loss and settings."""
    task = regression(training_step=step, metrics={"mae": mae}, batch_size=8)
    copy = pickle.loads(pickle.dumps(task))
    assert (copy.name, copy.batch_size, copy.overrides("training_step")) == (task.name, 8, step is not None)
    assert torch.equal(copy.splits().train.inputs, task.splits().train.inputs)
    model, batch = task.build_model(), regression_data(10)
    assert torch.equal(copy.training_step(model, batch), task.training_step(model, batch))
    assert copy.validation_step(model, batch).keys() == {"loss", "mae"}


def test_a_task_of_data_sets_keeps_them_and_how_they_are_read():
    """Nothing is read before training begins."""
    train, valid = Pairs(*regression_data()), TensorDataset(*regression_data(40))
    task = Task.from_datasets(
        linear_model, train, valid, loss=MSE, collate=list, num_workers=2, resident=False
    )
    split = task.splits().train
    assert isinstance(split, DatasetSplit)
    assert (split.dataset, split.collate, split.num_workers, split.resident) == (train, list, 2, False)
    assert (len(split), len(task.splits().valid), task.splits().test) == (64, 40, None)
    assert train.reads == 0


class Endless(IterableDataset):
    """A data set without length."""

    def __iter__(self):
        """Return nothing."""
        return iter(())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_factory": nn.Linear(3, 1)}, "fresh model at every call, .* got a Linear; pass the class"),
        ({"model_factory": 3}, "fresh model at every call"),
        ({"loss": None}, r"pass loss=.* or training_step="),
        ({"loss": nn.MSELoss}, r"did you mean MSELoss\(\)\?"),
        ({"loss": "mse"}, "loss must be a function, but got 'mse'"),
        ({"metrics": {"mae": 1}}, r"metrics\['mae'\] must be a function"),
        ({"metrics": [mae]}, "metrics must be functions by name"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, but got 0"),
        ({"accumulate": 1.5}, "accumulate must be a whole number"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"train": regression_data()[0]}, r"train must be \(inputs, targets\), but got a Tensor"),
        ({"valid": (torch.ones(3, 3), torch.ones(4, 1))}, r"valid: a split needs .*\[3, 3\].*\[4, 1\]"),
        ({"train": ([[1.0]], [[1.0]])}, "train: inputs and targets must be tensors, .* but got a float"),
    ],
)
def test_parts_that_do_not_fit_are_refused(options, message):
    """The error names the argument and what it must be."""
    with pytest.raises(TaskError, match=message):
        regression(**options)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Endless(), "train: a data set needs __len__ and __getitem__, .* got a Endless"),
        (3, "train: a data set needs __len__"),
        (Pairs([], []), "train: a split needs at least one example"),
        (None, "train and valid must both be data sets"),
    ],
)
def test_data_sets_that_cannot_be_ordered_are_refused(train, message):
    """An order needs a length and access by number."""
    with pytest.raises(TaskError, match=message):
        Task.from_datasets(linear_model, train, Pairs(*regression_data()), loss=MSE)


def test_a_negative_number_of_workers_is_refused():
    """The error has the value."""
    with pytest.raises(InputError, match="num_workers must be at least 0, but got -1"):
        DatasetSplit(Pairs(*regression_data()), num_workers=-1)


def test_splits_may_lack_a_test_split_and_targets():
    """Both are optional."""
    split = Split({"x": torch.ones(3, 2), "length": torch.ones(3)})
    assert len(split) == 3
    assert Splits(split, split).test is None


def test_a_loss_with_weights_follows_the_outputs():
    """Class weights that the user made on the CPU are moved to where training runs."""
    outputs, targets = torch.ones(2, 3, device="meta"), torch.ones(2, dtype=torch.int64, device="meta")
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    expected = loss(torch.ones(2, 3), torch.arange(2))
    task = pickle.loads(pickle.dumps(regression(loss=loss)))
    assert torch.equal(task.loss(torch.ones(2, 3), torch.arange(2)), expected)
    assert task.loss(outputs, targets).device.type == "meta"
