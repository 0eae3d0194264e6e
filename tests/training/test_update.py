"""One update against the same one written in plain PyTorch."""

import pytest
import torch
from torch import nn

from lrsearch.errors import TaskError
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.task import Task
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray
from lrsearch.training.optimizers import build_optimizer
from lrsearch.training.update import update

CPU = torch.device("cpu")


def network():
    """Return a small network in float64."""
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def batch(examples, seed=0):
    """Return inputs and targets of a regression."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 3, generator=generator, dtype=torch.float64)
    return inputs, inputs.prod(dim=1, keepdim=True)


def regression(**options):
    """Return a task made of such a batch."""
    options = {"loss": nn.functional.mse_loss, "train": batch(64), "valid": batch(32, 1), **options}
    return Task.from_tensors(options.pop("model_factory", network), **options)


def twins(optimizer="SGD", lr=0.1, knobs=None):
    """Return two equal models, each with its optimizer."""
    first, second = network(), network()
    second.load_state_dict(first.state_dict())
    return [
        (model, build_optimizer(optimizer, model.parameters(), lr, knobs or {})) for model in (first, second)
    ]


def assert_equal(one, other, rtol=1e-12):
    """Compare the parameters of two models."""
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=rtol, atol=1e-14)


def test_the_loss_returned_is_that_before_the_update():
    """Without gradient, so that it may be kept."""
    [(model, optimizer), _] = twins()
    inputs, targets = batch(16)
    before = nn.functional.mse_loss(model(inputs), targets)
    loss = update(regression(), model, optimizer, [(inputs, targets)])
    assert loss == before
    assert not loss.requires_grad
    assert nn.functional.mse_loss(model(inputs), targets) < before


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "LBFGS"])
def test_batches_that_accumulate_update_as_the_big_batch_does(optimizer):
    """Four of eight examples, or one of 32."""
    [(model, first), (other, second)] = twins(optimizer)
    inputs, targets = batch(32)
    parts = list(zip(inputs.split(8), targets.split(8), strict=True))
    for _step in range(3):
        small = update(regression(accumulate=4), model, first, parts)
        big = update(regression(), other, second, [(inputs, targets)])
        assert small.item() == pytest.approx(big.item(), rel=1e-10)
    assert_equal(model, other, rtol=1e-8)


@pytest.mark.parametrize("clip_norm", [1e-3, 0.1, 1e6])
def test_the_gradient_is_clipped_as_pytorch_clips_it(clip_norm):
    """The norm of all parameters together, whether it binds or not."""
    [(model, first), (other, second)] = twins(lr=1.0)
    inputs, targets = batch(16)
    update(regression(clip_norm=clip_norm), model, first, [(inputs, targets)])
    nn.functional.mse_loss(other(inputs), targets).backward()
    nn.utils.clip_grad_norm_(other.parameters(), clip_norm)
    second.step()
    assert_equal(model, other)


def test_the_accumulated_gradient_is_clipped_not_its_parts():
    """So that accumulation and clipping together equal the big batch clipped."""
    [(model, first), (other, second)] = twins(lr=1.0)
    inputs, targets = batch(32)
    parts = list(zip(inputs.split(8), targets.split(8), strict=True))
    update(regression(clip_norm=0.05), model, first, parts)
    update(regression(clip_norm=0.05), other, second, [(inputs, targets)])
    assert_equal(model, other, rtol=1e-8)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_lbfgs_updates_as_a_plain_closure_does(clip_norm):
    """Several evaluations per update, each clipped; the loss is the first one's."""
    [(model, first), (other, second)] = twins("LBFGS", 0.5, {"max_iter": 5})
    inputs, targets = batch(16)

    def closure():
        second.zero_grad()
        loss = nn.functional.mse_loss(other(inputs), targets)
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(other.parameters(), clip_norm)
        return loss

    for _step in range(3):
        loss = update(regression(clip_norm=clip_norm), model, first, [(inputs, targets)])
        assert loss.item() == second.step(closure).item()
    assert_equal(model, other)


def test_amp_runs_the_forward_pass_in_bfloat16():
    """The parameters stay as they are, and a run still learns."""
    seen = []

    class Watched(nn.Linear):
        def forward(self, inputs):
            outputs = super().forward(inputs)
            seen.append(outputs.dtype)
            return outputs

    inputs, targets = (tensor.float() for tensor in batch(64))
    task = regression(
        model_factory=lambda: Watched(3, 1),
        train=(inputs, targets),
        valid=(inputs, targets),
        amp=True,
    )
    array = EagerArray(task, load_data(task, 16, CPU), epochs=3, optimizer="SGD", seed=0)
    array.start(0, Hyperparameters(0.1))
    results = [array.run_epoch()[0] for _epoch in range(3)]
    assert set(seen) == {torch.bfloat16}
    assert array._lanes[0].model.weight.dtype == torch.float32
    assert results[-1].valid_loss < array.untrained_loss


def test_an_epoch_that_accumulates_has_fewer_updates():
    """And reports the learning rate of its last one."""
    task = regression(accumulate=4)
    array = EagerArray(task, load_data(task, 8, CPU), epochs=2, optimizer="SGD", seed=0)
    assert array.steps_per_epoch == 2
    array.start(0, Hyperparameters(0.1, "LinearLR"))
    assert [array.run_epoch()[0].lr for _epoch in range(2)] == pytest.approx([0.075, 0.025])


def test_a_training_step_of_the_users_own_is_what_is_trained():
    """With its own loss; validation uses it where there is no other."""

    def shifted(model, batch):
        inputs, targets = batch
        return nn.functional.mse_loss(model(inputs), targets + 1)

    task = regression(loss=None, training_step=shifted)
    [(model, optimizer), _] = twins()
    inputs, targets = batch(16)
    assert update(task, model, optimizer, [(inputs, targets)]) != 0
    other = regression(train=(batch(64)[0], batch(64)[1] + 1), valid=(batch(32, 1)[0], batch(32, 1)[1] + 1))
    curves = []
    for trained in (task, other):
        array = EagerArray(trained, load_data(trained, 8, CPU), epochs=1, optimizer="SGD", seed=0)
        array.start(0, Hyperparameters(0.1))
        curves.append((array.run_epoch()[0].valid_loss, array.untrained_loss))
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("training_step", "message"),
    [
        (
            lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1], reduction="none"),
            r"scalar.*shape \[16, 1\]",
        ),
        (lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1]).item(), "scalar tensor"),
        (
            lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1]).detach(),
            "no gradient.*detach",
        ),
    ],
)
def test_a_loss_that_cannot_be_trained_with_is_refused(training_step, message):
    """By the rule that it breaks, and what was got."""
    [(model, optimizer), _] = twins()
    with pytest.raises(TaskError, match=message):
        update(regression(loss=None, training_step=training_step), model, optimizer, [batch(16)])
