"""The range test in training: against a plain PyTorch loop, and without a trace in what is the user's."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lrsearch.errors import SpecError, TaskError
from lrsearch.lr_range import EXPONENTIAL, GROWTHS, Growth, RangeTest, find_zones, lane_curve, suggestions
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks import load_task
from lrsearch.tasks.randomness import random_state
from lrsearch.tasks.task import Task
from lrsearch.training.data import load_data
from lrsearch.training.eager import build_model
from lrsearch.training.range_test import RangeTestStep, run_range_test

CPU = torch.device("cpu")
POINT = Hyperparameters(0.1)
EXAMPLES, BATCH_SIZE = 128, 16


def line(seed=0):
    """Return inputs and targets of a noisy plane in four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(EXAMPLES, 4, generator=generator)
    targets = inputs.sum(1, keepdim=True) + 0.1 * torch.randn(EXAMPLES, 1, generator=generator)
    return inputs, targets


def regression(model_factory=lambda: nn.Linear(4, 1), loss=nn.functional.mse_loss, **settings):
    """Return a task of eight updates an epoch."""
    return Task.from_tensors(
        model_factory, line(), line(1), loss=loss, batch_size=BATCH_SIZE, name="plane", **settings
    )


def run(task, growth, optimizer="SGD", point=POINT, seeds=(0,)):
    """Return the steps and the test."""
    data = load_data(task, task.batch_size, CPU)
    *steps, test = run_range_test(task, data, growth, optimizer, point, seeds)
    assert isinstance(test, RangeTest)
    assert all(isinstance(step, RangeTestStep) for step in steps)
    return steps, test


def growing(steps=40, low=1e-4, high=0.05, kind=EXPONENTIAL):
    """Return growth that a linear model follows without diverging."""
    return Growth(kind, low, high, steps)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Scikit-learn's digits with a small perceptron."""
    return load_task("digits-mlp", tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("kind", GROWTHS)
@pytest.mark.parametrize(("optimizer", "knobs"), [("SGD", {"momentum": 0.9}), ("Adam", {})])
def test_a_lane_trains_as_a_plain_pytorch_loop_does(kind, optimizer, knobs):
    """Each loss stands beside the rate of the update that led to it, over five epochs in their own orders."""
    task, growth = regression(), growing(kind=kind)
    _, test = run(task, growth, optimizer, Hyperparameters(0.1, optimizer=knobs), seeds=(3,))
    data = load_data(task, BATCH_SIZE, CPU)
    model = build_model(task, 3, CPU)
    plain = getattr(torch.optim, optimizer)(model.parameters(), lr=1.0, **knobs)
    batches = [batch for epoch in range(6) for [batch] in data.updates(3, epoch)]
    losses = []
    for lr, batch, following in zip(growth.lrs().tolist(), batches, batches[1:], strict=False):
        plain.param_groups[0]["lr"] = lr
        plain.zero_grad()
        nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
        plain.step()
        with torch.no_grad():
            losses.append(nn.functional.mse_loss(model(following[0]), following[1]).item())
    [lane] = test.lanes
    assert lane.losses == pytest.approx(losses, rel=1e-5)
    assert len(batches) > len(losses) == growth.steps
    assert not lane.diverged


def test_the_first_loss_is_the_untrained_models():
    """It is of no learning rate, and stands apart."""
    task = regression()
    _, test = run(task, growing())
    inputs, targets = next(iter(load_data(task, BATCH_SIZE, CPU).updates(0, 0)))[0]
    untrained = nn.functional.mse_loss(build_model(task, 0, CPU)(inputs), targets)
    assert test.lanes[0].untrained_loss == pytest.approx(untrained.item(), rel=1e-6)


def test_a_lane_is_the_same_alone_and_beside_others():
    """Seeds train in turns, and know nothing of each other, dropout included."""
    task = regression(lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 1)))
    _, together = run(task, growing(), seeds=(0, 1, 2))
    for lane in together.lanes:
        assert run(task, growing(), seeds=(lane.seed,))[1].lanes == (lane,)
    assert len({lane.losses for lane in together.lanes}) == 3


def test_every_step_is_reported_with_its_rate_and_losses():
    """From the first to the last, and then the whole."""
    growth = growing()
    steps, test = run(regression(), growth, seeds=(5, 6))
    assert [step.step for step in steps] == list(range(1, growth.steps + 1))
    assert [step.lr for step in steps] == pytest.approx(growth.lrs().tolist())
    assert [step.losses for step in steps] == list(zip(*(lane.losses for lane in test.lanes), strict=True))
    assert {step.steps for step in steps} == {growth.steps}


@pytest.mark.parametrize("streamed", [False, True])
def test_global_random_states_are_as_before_at_every_step(streamed):
    """Whoever draws between two steps gets the numbers that it would have got without the test."""

    def factory():
        random.random()
        np.random.rand()
        return nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 1))

    loss = nn.functional.mse_loss
    parts = [TensorDataset(*line(seed)) for seed in (0, 1)]
    task = (
        Task.from_datasets(factory, *parts, loss=loss, batch_size=BATCH_SIZE, resident=False)
        if streamed
        else regression(factory)
    )
    data = load_data(task, BATCH_SIZE, CPU)
    before = random_state()
    for _item in run_range_test(task, data, growing(), "SGD", POINT, (0, 1)):
        assert random_state() == before
    assert random_state() == before


def test_a_test_that_is_given_up_leaves_nothing_behind():
    """The caller stops taking steps, as when a user presses Ctrl-C."""
    task, before = regression(), random_state()
    steps = run_range_test(task, load_data(task, BATCH_SIZE, CPU), growing(), "SGD", POINT, (0, 1))
    next(steps)
    steps.close()
    assert random_state() == before


def test_a_factory_that_gives_the_users_own_model_has_it_back_untouched():
    """Weights, buffers, gradients and mode: a pre-trained net is not trained by being looked at."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # else its weights depend on the tests before
        mine = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    before = copy.deepcopy(mine.state_dict())
    _, test = run(regression(lambda: mine), growing(), seeds=(0, 1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in mine.state_dict().items())
    assert all(parameter.grad is None for parameter in mine.parameters())
    assert not mine.training
    assert test.lanes[0].losses[-1] < test.lanes[0].untrained_loss


def test_a_model_that_cannot_be_copied_is_trained_as_it_is():
    """Copying is for factories that give the same model twice; torch cannot copy every model."""

    class Computed(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")

    _, test = run(regression(lambda: Computed(4, 1)), growing())
    assert len(test.lanes[0].losses) == growing().steps


def test_lanes_end_where_they_diverge_and_the_others_go_on():
    """As the rule of the losses says, and no update later; the test ends with its last lane."""
    growth = Growth(EXPONENTIAL, 1e-2, 1e6, 100)
    steps, test = run(regression(), growth, seeds=(0, 1, 2))
    lengths = [len(lane.losses) for lane in test.lanes]
    assert all(lane.diverged for lane in test.lanes)
    assert max(lengths) < growth.steps
    assert len(steps) in {max(lengths), max(lengths) + 1}
    for number, lane in enumerate(test.lanes):
        assert lane_curve(lane.seed, lane.untrained_loss, lane.losses).losses == lane.losses
        assert steps[-1].losses[number] is None
        assert sum(step.losses[number] is not None for step in steps) in {
            len(lane.losses),
            len(lane.losses) - 1,
        }


def test_an_exception_of_a_model_whose_weights_are_nan_is_divergence():
    """torch.distributions refuses NaN by raising, for one; the curve up to there is worth keeping."""

    class Strict(nn.Linear):
        def forward(self, inputs):
            outputs = super().forward(inputs)
            if not outputs.isfinite().all():
                raise ValueError("expected finite values")
            return outputs

    growth = Growth(EXPONENTIAL, 1.0, 1e30, 20)
    _, test = run(regression(lambda: Strict(4, 1)), growth)
    assert test.lanes[0].diverged
    assert all(math.isfinite(loss) for loss in test.lanes[0].losses)


def test_an_exception_of_a_model_with_good_weights_is_the_users():
    """It is not taken for divergence."""

    def failing(outputs, targets):
        del outputs, targets
        raise KeyError("typo")

    with pytest.raises(KeyError, match="typo"):
        run(regression(loss=failing), growing())


def test_an_untrained_model_without_a_finite_loss_is_refused():
    """No learning rate is at fault."""
    with pytest.raises(TaskError, match=r"plane: the loss must be finite .* with seed 4 it is nan"):
        run(
            regression(loss=lambda outputs, targets: (outputs - targets).mean() * math.nan),
            growing(),
            seeds=(4,),
        )


@pytest.mark.parametrize("seeds", [(), (1, 2, 1)])
def test_seeds_must_exist_and_differ(seeds):
    """The same seed twice would look like agreement."""
    with pytest.raises(SpecError, match="at least one seed, all different"):
        run(regression(), growing(), seeds=seeds)


def test_groups_keep_their_ratios_and_frozen_layers_their_weights():
    """A group with scale 0 does not move, like a frozen one; the settings tell of both."""
    models = []

    def factory():
        models.append(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)))
        return models[-1]

    class Watched(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("train this one, so that the test can look at it")

    def watched():
        models.append(nn.Sequential(Watched(4, 4), Watched(4, 4), Watched(4, 1)))
        return models[-1]

    point = Hyperparameters(0.1, lr_scales={"0.*": 0.0}, frozen=("1.*",))
    _, test = run(regression(watched), growing(), point=point)
    fresh = build_model(regression(factory), 0, CPU)
    trained = models[0]
    for layer, same in ((0, True), (1, True), (2, False)):
        assert torch.equal(trained[layer].weight, fresh[layer].weight) == same
    assert test.settings["frozen"] == ["1.*"]
    assert {group["name"]: group["lr_scale"] for group in test.settings["groups"]} == {"0.*": 0.0, "*": 1.0}


def test_a_scale_shifts_the_curve_along_the_rate():
    """A group with a tenth of the rate trains at ten times the rate as all would at once."""
    slow = run(
        regression(), Growth(EXPONENTIAL, 1e-3, 0.5, 40), point=Hyperparameters(0.1, lr_scales={"*": 0.1})
    )[1]
    plain = run(regression(), growing())[1]
    assert slow.lanes[0].losses == pytest.approx(plain.lanes[0].losses, rel=1e-4)


def test_lbfgs_has_a_range_test_too():
    """With its closure; its rate means something else, but has a curve all the same."""
    _, test = run(regression(), Growth(EXPONENTIAL, 1e-3, 1.0, 20), "LBFGS")
    assert test.lanes[0].losses[-1] < test.lanes[0].untrained_loss


def test_the_test_survives_json():
    """Settings hold plain values alone."""
    _, test = run(regression(), growing(), point=Hyperparameters(0.1, optimizer={"momentum": 0.9}))
    assert RangeTest.from_json(test.to_json()) == test
    assert test.settings["optimizer_knobs"] == {"momentum": 0.9}
    assert test.settings["steps_per_epoch"] == EXAMPLES // BATCH_SIZE


def test_the_digits_have_all_three_zones(digits):
    """The suggested rate is one that trains them well, within a factor of 4."""
    _, test = run(digits, Growth(EXPONENTIAL, 1e-6, 10.0, 100), seeds=(0, 1, 2))
    zones, suggested = find_zones(test), suggestions(test)
    assert zones.hints == ()
    assert 0.1 / 4 < suggested.lr < 0.1 * 4
    assert suggested.interval.low < 0.1 < suggested.interval.high
