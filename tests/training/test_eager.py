"""The reference trainer against a plain PyTorch loop, and the independence of its lanes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lrsearch.errors import DeviceError, SpecError
from lrsearch.results import EpochResult, LaneFailure
from lrsearch.schedules import KINDS, Hyperparameters, Schedule
from lrsearch.tasks import load_task
from lrsearch.training.data import ResidentData, epoch_order
from lrsearch.training.devices import resolve_device, threads_for
from lrsearch.training.eager import EagerArray, build_model, validate
from lrsearch.training.optimizers import build_optimizer

CPU = torch.device("cpu")
EPOCHS = 3


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Scikit-learn's digits with a small perceptron."""
    return load_task("digits-mlp", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(task):
    """The digits on the CPU, in batches of 32."""
    return ResidentData(task, 32, CPU)


def make_array(task, data, optimizer="SGD", seed=0):
    """Return an array for three-epoch trials."""
    return EagerArray(task, data, epochs=EPOCHS, optimizer=optimizer, seed=seed)


def run(array, points):
    """Train points to their end in one array and return each trial's results."""
    for trial, point in enumerate(points):
        array.start(trial, point)
    curves = {trial: [] for trial in range(len(points))}
    for _epoch in range(EPOCHS):
        for result in array.run_epoch():
            curves[result.trial].append(result)
    return curves


def losses(results):
    """Return what an independent lane must reproduce exactly."""
    return [(r.epoch, r.train_loss, r.valid_loss, dict(r.metrics), r.lr) for r in results]


@pytest.mark.parametrize(
    ("optimizer", "knobs"),
    [
        ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-3}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Adam", {"beta1": 0.8, "beta2": 0.95, "eps": 1e-7, "weight_decay": 1e-3}),
        ("AdamW", {"weight_decay": 0.05}),
    ],
)
def test_a_lane_trains_as_a_plain_pytorch_loop_does(task, data, optimizer, knobs):
    """Losses and learning rates equal those of torch.optim driven by torch's own OneCycleLR."""
    point = Hyperparameters(0.01, "OneCycleLR", {}, 0.0, knobs)
    [result] = run(make_array(task, data, optimizer), [point]).values()

    model = build_model(task, 0, CPU)
    arguments = {k: v for k, v in knobs.items() if not k.startswith("beta")}
    if "beta1" in knobs:
        arguments["betas"] = (knobs["beta1"], knobs["beta2"])
    plain = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, **arguments)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        plain, max_lr=0.01, total_steps=EPOCHS * data.steps_per_epoch, cycle_momentum=False
    )
    for epoch in range(EPOCHS):
        model.train()
        total, steps = 0.0, 0
        for [(inputs, targets)] in data.updates(0, epoch):
            lr = plain.param_groups[0]["lr"]
            plain.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            plain.step()
            total, steps = total + loss.item(), steps + 1
            if steps + epoch * data.steps_per_epoch < EPOCHS * data.steps_per_epoch:
                scheduler.step()
        assert result[epoch].lr == pytest.approx(lr, rel=1e-6)
        assert result[epoch].train_loss == pytest.approx(total / steps, rel=1e-4)
        assert result[epoch].valid_loss == pytest.approx(validate(task, model, data)[0], rel=1e-4)


def test_a_trial_is_the_same_alone_and_in_any_lane(task, data):
    """Losses depend on hyperparameters and seed alone, whatever else trains beside."""
    points = [Hyperparameters(0.1), Hyperparameters(0.5, "WSD"), Hyperparameters(0.02, "ReduceLROnPlateau")]
    together = run(make_array(task, data), points)
    backwards = run(make_array(task, data), points[::-1])
    for number, point in enumerate(points):
        [alone] = run(make_array(task, data), [point]).values()
        assert losses(alone) == losses(together[number])
        assert losses(alone) == losses(backwards[2 - number])


def test_a_trial_is_the_same_started_later(task, data):
    """A lane that is refilled trains as one that began with the array."""
    [first] = run(make_array(task, data), [Hyperparameters(0.1)]).values()
    array = make_array(task, data)
    array.start(0, Hyperparameters(0.4))
    array.run_epoch()
    array.start(1, Hyperparameters(0.1))
    later = [result for _epoch in range(EPOCHS) for result in array.run_epoch() if result.trial == 1]
    assert losses(later) == losses(first)


def test_training_leaves_the_global_random_state_alone(task, data):
    """A user's own random numbers do not depend on what is trained, nor it on them."""
    before = torch.random.get_rng_state()
    run(make_array(task, data), [Hyperparameters(0.1)])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
def test_the_reported_lr_is_the_schedules_last_one(task, data, kind):
    """Every kind drives the optimizer, epoch by epoch, with its own learning rates."""
    point = Hyperparameters(0.05, kind)
    schedule = Schedule(point, EPOCHS, data.steps_per_epoch)
    state = schedule.start()
    for result in run(make_array(task, data), [point])[0]:
        assert result.lr == schedule.epoch_lrs(result.epoch - 1, state)[-1]
        state = schedule.update(state, result.valid_loss)


def test_training_learns_the_digits(task, data):
    """A sensible learning rate reaches a validation accuracy above 85% in three epochs."""
    result = run(make_array(task, data), [Hyperparameters(0.1, "LinearLR", {}, 0.0, {"momentum": 0.9})])[0][
        -1
    ]
    assert result.metrics["valid_accuracy"] > 0.85
    assert result.valid_loss < 0.5


def test_divergence_is_recognised(task, data):
    """A loss that is not finite, or above three times the untrained one, has diverged."""
    array = make_array(task, data)
    result = run(array, [Hyperparameters(1e6, "constant")])[0][-1]
    assert result.diverged(array.untrained_loss)
    healthy = EpochResult(0, 1, 2.0, 2.0, {}, 0.1, 1.0)
    assert not healthy.diverged(untrained_loss=2.3)
    assert replace(healthy, valid_loss=7.0).diverged(untrained_loss=2.3)
    assert replace(healthy, train_loss=math.nan).diverged(untrained_loss=2.3)


def test_a_lane_that_raises_fails_alone(task, data):
    """An exception in a user's code frees its lane and leaves the others training."""

    class Fragile(type(task)):
        def loss(self, outputs, targets):
            if torch.is_grad_enabled() and outputs.abs().max() > 1e3:
                raise RuntimeError("too large\nsecond line")
            return super().loss(outputs, targets)

    fragile = Fragile(**{name: getattr(task, name) for name in task.__dataclass_fields__})
    array = make_array(fragile, data)
    array.start(0, Hyperparameters(1e6))
    array.start(1, Hyperparameters(0.1))
    failure, success = array.run_epoch()
    assert failure == LaneFailure(0, 1, "RuntimeError: too large")
    assert isinstance(success, EpochResult)
    assert [result.trial for result in array.run_epoch()] == [1]


def test_a_dropped_trial_trains_no_more(task, data):
    """Dropping frees the lane."""
    array = make_array(task, data)
    array.start(0, Hyperparameters(0.1))
    array.start(1, Hyperparameters(0.2))
    array.drop([0])
    assert [result.trial for result in array.run_epoch()] == [1]


def test_an_epoch_visits_each_example_at_most_once_in_an_order_of_its_own(data):
    """The order depends on seed and epoch; batches are all of one size."""
    orders = [epoch_order(100, seed, epoch).tolist() for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]
    assert sorted(orders[0]) == list(range(100))
    sizes = {len(targets) for [(_inputs, targets)] in data.updates(0, 0)}
    assert sizes == {32}


def test_another_seed_means_other_weights(task):
    """Initial weights are the study's seed's."""
    one, same, other = (build_model(task, seed, CPU) for seed in (0, 0, 1))
    first = [next(model.parameters()).detach().numpy() for model in (one, same, other)]
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_a_batch_cannot_exceed_the_training_split(task):
    """The error names the rule and the value."""
    with pytest.raises(SpecError, match="batch_size must be at most the 1199 training examples"):
        ResidentData(task, 5000, CPU)


def test_a_missing_cuda_device_is_refused_with_the_alternative():
    """Asking for a device that is not there names --device auto."""
    assert resolve_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert resolve_device("auto").type in {"cpu", "mps"}
    with pytest.raises(DeviceError, match="--device auto or --device cpu"):
        resolve_device("cuda:99")


def test_small_models_train_with_one_thread_and_the_setting_comes_back():
    """Threads are the caller's again after training."""
    before = torch.get_num_threads()
    with threads_for(nn.Linear(4, 4), CPU):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_an_unknown_optimizer_is_refused():
    """Only the named optimizers are built."""
    with pytest.raises(ValueError, match="unknown optimizer 'SGDD'"):
        build_optimizer("SGDD", [nn.Parameter(torch.zeros(1))], 0.1, {})
