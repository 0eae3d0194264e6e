"""Mistakes in a task are told before the first trial: what is wrong, where, and what to look at."""

import copy
import re
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from lrsearch.errors import SpecError, TaskError
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks import load_task
from lrsearch.tasks.randomness import random_state
from lrsearch.tasks.task import Task
from lrsearch.training.data import load_data
from lrsearch.training.rehearsal import rehearse
from tests.tasks.plain import (
    Noisy,
    Pairs,
    SequenceModel,
    Sequences,
    linear_model,
    mae,
    padded,
    regression,
    regression_data,
)

CPU = torch.device("cpu")
SHARED = nn.Linear(3, 1)
MSE = nn.functional.mse_loss


def rehearsed(task, optimizer="SGD", point=None, batch_size=8):
    """Rehearse a task on the CPU."""
    rehearse(task, load_data(task, batch_size, CPU), optimizer, point or Hyperparameters(0.1))


def refusal(task, **options):
    """Return the message of the error that the rehearsal raises."""
    with pytest.raises(TaskError) as caught:
        rehearsed(task, **options)
    assert str(caught.value).startswith(f"{task.name}: ")
    return str(caught.value)


def of_datasets(model_factory, train, **options):
    """Return a task of data sets."""
    return Task.from_datasets(model_factory, train, train, **{"loss": MSE, **options})


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "LBFGS"])
@pytest.mark.parametrize(
    "task",
    [
        regression(metrics={"mae": mae}, accumulate=2, clip_norm=1.0),
        regression(amp=True),
        regression(loss=None, training_step=lambda model, batch: MSE(model(batch[0]), batch[1])),
        of_datasets(lambda: nn.Linear(4, 1), Noisy()),
        of_datasets(SequenceModel, Sequences(), collate=padded),
        of_datasets(
            linear_model,
            Pairs(*regression_data(40), lambda x, y: {"x": x, "y": y}),
            loss=None,
            training_step=lambda model, batch: MSE(model(batch["x"]), batch["y"]),
        ),
    ],
    ids=["tensors", "amp", "training step", "random", "sequences", "dicts"],
)
def test_a_task_that_can_be_trained_passes(task, optimizer):
    """Every form of task, by every form of optimizer, with nothing said."""
    rehearsed(task, optimizer, Hyperparameters(1e-3))


def test_the_shipped_tasks_pass(tmp_path):
    """The digits do."""
    rehearsed(load_task("digits-mlp", tmp_path), batch_size=32)


def test_a_rehearsal_leaves_no_trace():
    """Global random numbers are as before, and the user's model is not trained."""
    original = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 1))
    weights = copy.deepcopy(original.state_dict())
    before = random_state()
    rehearsed(regression(model_factory=lambda: copy.deepcopy(original)))
    assert random_state() == before
    assert all(torch.equal(value, weights[name]) for name, value in original.state_dict().items())


def detached(outputs, targets):
    """Return a loss without gradient."""
    return MSE(outputs.detach(), targets)


def of_other(outputs, targets):
    """Return a loss whose gradient does not reach the model."""
    own = torch.ones((), requires_grad=True)
    return own * MSE(outputs.detach(), targets)


def nan_gradient(outputs, targets):
    """Return a finite loss with the gradient 0 / 0."""
    return (outputs - targets).pow(2).mean() + ((outputs - outputs.detach()) ** 2).sum().sqrt()


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (
            nn.MSELoss(reduction="none"),
            r"loss\(\) must return .* scalar .* shape \[8, 1\]; take its .mean\(\)",
        ),
        (lambda o, t: MSE(o, t).item(), r"got a float; return a tensor \(without .item\(\)\)"),
        (detached, r"what loss\(\) returns has no gradient; .* without .*\.detach\(\)"),
        (of_other, "no parameter of the model gets a gradient from the loss"),
        (nan_gradient, "but its gradient is NaN"),
        (lambda o, t: MSE(o, t) * torch.nan, r"loss\(\) returns is nan on the untrained model"),
        (lambda o, t: MSE(o, t) / 0, r"loss\(\) returns is inf on the untrained model"),
        (lambda _o, _t: None, "scalar tensor, but got a NoneType"),
    ],
)
def test_a_loss_that_cannot_be_minimised_is_refused(loss, told):
    """No scalar, no gradient, no number."""
    assert re.search(told, refusal(regression(loss=loss)))


def test_a_training_step_is_named_where_it_is_at_fault():
    """The message names the method that the user wrote."""
    task = regression(loss=None, training_step=lambda model, batch: model(batch[0]))
    assert "training_step() must return the mean loss" in refusal(task)


def test_numbers_that_are_not_finite_in_the_data_are_counted():
    """A NaN loss may come from the data themselves."""
    inputs, targets = regression_data()
    inputs[:, 1] = torch.nan
    message = refusal(regression(train=(inputs, targets)))
    assert "the batch itself holds 8 values that are not finite" in message


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        (lambda o, _t: (o - o).sum() / 0, "the metric 'm' is NaN in the validation of the untrained model"),
        (
            lambda o, t: (o - t).abs(),
            "the metric 'm' must be a scalar tensor in validation, but got a tensor",
        ),
        (lambda o, t: mae(o, t).item(), "got a float; return a tensor"),
        (lambda o, t: (o - t[:3]).mean(), "the metric 'm' failed: RuntimeError"),
    ],
)
def test_a_metric_that_cannot_be_averaged_is_refused(metric, told):
    """The message names the metric."""
    assert told in refusal(regression(metrics={"good": mae, "m": metric}))


def test_a_metric_may_be_infinite():
    """Only NaN says that something is undefined."""
    rehearsed(regression(metrics={"m": lambda o, _t: o.sum().abs() / 0}))


class OnMeta(nn.Module):
    """A model with a tensor of its own on another device."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs):
        """Return what cannot be computed."""
        return self.layer(inputs) + torch.ones(1, device="meta")


class Several(nn.Linear):
    """A model that returns a pair."""

    def forward(self, inputs):
        """Return outputs and inputs."""
        return super().forward(inputs), inputs


def class_numbers(classes):
    """Return inputs and class numbers."""
    return regression_data()[0], torch.arange(64) % classes


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"model_factory": OnMeta},
            ["forward() failed: RuntimeError", "device", "device=inputs.device", "in forward"],
        ),
        (
            {"train": tuple(part.double() for part in regression_data())},
            ["forward() failed", "dtypes do not fit together", "float64 [8, 3] on cpu", "float32 [1, 3]"],
        ),
        (
            {
                "model_factory": lambda: nn.Linear(3, 4),
                "loss": nn.CrossEntropyLoss(),
                "train": class_numbers(5),
            },
            ["loss() failed: IndexError: Target 4 is out of bounds", "class numbers lie in 0 .. outputs - 1"],
        ),
        (
            {"model_factory": lambda: nn.Linear(5, 1)},
            ["forward() failed", "mat1 and mat2", "shapes do not fit together", "batch: (float32 [8, 3]"],
        ),
        (
            {"train": (regression_data()[0], regression_data()[1][:, 0])},
            ["loss() failed", "(torch.Size([8]))", "outputs.squeeze(1)"],
        ),
        (
            {"loss": lambda outputs, targets: outputs["logits"].mean() + targets},
            ["loss() failed: IndexError", "test_rehearsal.py", "in <lambda>"],
        ),
        (
            {"model_factory": lambda: Several(3, 1)},
            ["loss() failed", "the model returns several things"],
        ),
        (
            {
                "model_factory": lambda: nn.Linear(3, 5),
                "loss": nn.CrossEntropyLoss(),
                "train": (regression_data()[0], (torch.arange(64) % 5).unsqueeze(1)),
            },
            ["loss() failed", "targets.squeeze(1)"],
        ),
    ],
    ids=["devices", "dtypes", "classes", "shapes", "broadcast", "anything", "several", "column"],
)
def test_what_torch_says_is_put_into_words(options, told):
    """The method, torch's message in a line, what to look at, and the batch's shapes."""
    message = refusal(regression(**options))
    for part in told:
        assert part in message
    assert "batch: (float" in message


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (lambda: torch.ones(3), "build_model() must return a torch.nn.Module, but returned a Tensor"),
        (nn.ReLU, "a ReLU without parameters to train"),
        (lambda: nn.Linear(3, 1).requires_grad_(False), "without parameters to train"),
        (lambda: nn.LazyLinear(1), "lazy layers"),
        (lambda: nn.Linear(3), "build_model() failed: TypeError"),
        (partial(copy.copy, SHARED), "build_model() returns one model at every call"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_a_model_that_cannot_be_trained_is_refused(factory, told):
    """No module, nothing to train, or one model for all trials."""
    assert told in refusal(regression(model_factory=factory))


def test_an_optimizer_that_cannot_take_the_gradients_is_told():
    """The error names the optimizer."""

    def factory():
        return nn.Sequential(nn.Embedding(5, 1, sparse=True), nn.Flatten(1), nn.Linear(3, 1))

    numbers = torch.randint(5, (64, 3), generator=torch.Generator().manual_seed(0)), regression_data()[1]
    task = regression(model_factory=factory, train=numbers, valid=numbers)
    assert "an update by Adam failed" in refusal(task, optimizer="Adam")
    rehearsed(task, "SGD")


def test_the_clipping_of_the_gradient_is_tried():
    """Sparse gradients, which SGD can take, have no norm."""

    def factory():
        return nn.Sequential(nn.Embedding(5, 1, sparse=True), nn.Flatten(1), nn.Linear(3, 1))

    numbers = torch.randint(5, (64, 3), generator=torch.Generator().manual_seed(0)), regression_data()[1]
    options = {"model_factory": factory, "train": numbers, "valid": numbers}
    rehearsed(regression(**options), "SGD")
    assert "computing the gradient failed" in refusal(regression(**options, clip_norm=1.0))


@pytest.mark.parametrize("optimizer", ["SGD", "LBFGS"])
def test_a_whole_update_is_tried(optimizer):
    """All batches that accumulate; by L-BFGS several times."""
    seen = []

    def step(model, batch):
        seen.append(batch[0].sum().item())
        return MSE(model(batch[0]), batch[1])

    rehearsed(regression(training_step=step, accumulate=3), optimizer)
    assert len(set(seen)) == 3
    assert (len(seen) > 6) == (optimizer == "LBFGS")


def test_a_backbone_that_models_share_is_left_as_it_is():
    """Frozen layers may be shared; their statistics do not come from a rehearsal."""
    backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).requires_grad_(False)
    before = copy.deepcopy(backbone.state_dict())
    rehearsed(regression(model_factory=lambda: nn.Sequential(backbone, nn.Linear(4, 1))))
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_groups_that_match_nothing_are_told():
    """The pattern is compared with the model's names."""
    point = Hyperparameters(0.1, lr_scales={"wieght": 0.5})
    with pytest.raises(SpecError, match="wieght"):
        rehearsed(regression(), point=point)


def test_a_validation_step_must_have_a_loss():
    """Its dict is what the search reads."""

    class Mine(Task):
        def validation_step(self, _model, _batch):
            return {"accuracy": torch.ones(())}

    task, mine = regression(), Mine()
    mine.build_model, mine.splits, mine.loss = task.build_model, task.splits, task.loss
    assert "validation_step() must return a dict with 'loss'" in refusal(mine)


def test_a_training_set_smaller_than_an_update_is_told():
    """Whatever the data are, they must give one update per epoch."""

    class Empty:
        device, steps_per_epoch = CPU, 0

    with pytest.raises(TaskError, match="too few training examples for one update"):
        rehearse(regression(accumulate=3), Empty(), "SGD", Hyperparameters(0.1))


def test_amp_needs_a_device_that_has_it(monkeypatch):
    """The error says which has not."""
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda _device: False)
    assert "amp = True needs bfloat16, which cpu does not have" in refusal(regression(amp=True))


def test_examples_that_cannot_be_streamed_are_told():
    """What a data set raises late shows in the rehearsal."""
    reads = iter(range(1000))

    def late(x, y):
        if next(reads) > 5:
            raise OSError("disk gone")
        return x, y

    task = of_datasets(linear_model, Pairs(*regression_data(40), late), collate=default_collate)
    message = refusal(task)
    assert "reading the data failed: OSError: disk gone" in message
    assert "in late" in message
