"""The reference trainer against a plain PyTorch loop, and the independence of its lanes."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lrsearch.errors import DeviceError, SpecError, TaskError
from lrsearch.results import EpochResult, LaneFailure
from lrsearch.schedules import KINDS, Hyperparameters, Schedule
from lrsearch.tasks import load_task
from lrsearch.tasks.randomness import random_state
from lrsearch.tasks.task import Split, Splits, Task
from lrsearch.training.data import ResidentData, epoch_order
from lrsearch.training.devices import allow_tf32, resolve_device, threads_for
from lrsearch.training.eager import EagerArray, Models, build_model, evaluate, share_tensors, validate
from lrsearch.training.optimizers import build_optimizer
from tests.tasks.plain import linear_model, mae, regression, regression_data

CPU = torch.device("cpu")
EPOCHS = 3
MSE = nn.functional.mse_loss
INPUTS, TARGETS = regression_data(40, seed=1)


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


def test_a_lane_under_a_seed_of_its_own_is_that_of_an_array_of_this_seed(task, data):
    """Weights and order of batches are the seed's; the others are the array's."""
    point = Hyperparameters(0.1)
    other = run(make_array(task, data, seed=5), [point])[0]
    array = make_array(task, data)
    array.start(0, point)
    array.start(1, point, seed=5)
    results = [array.run_epoch() for _epoch in range(EPOCHS)]
    assert losses([epoch[1] for epoch in results]) == losses(other)
    assert losses([epoch[0] for epoch in results]) != losses(other)


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
        assert result[epoch].valid_loss == pytest.approx(validate(task, model, data, 0)[0], rel=1e-4)


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


def noisy_step(model, batch):
    """Return the loss at inputs with noise from torch."""
    return MSE(model(batch[0] + torch.randn_like(batch[0])), batch[1])


def masking_step(model, batch):
    """Return the loss without inputs that NumPy and Python choose."""
    kept = torch.from_numpy(np.random.rand(*batch[0].shape) > 0.3) * (random.random() > 0.1)
    return MSE(model(batch[0] * kept), batch[1])


def dropping():
    """Return a model with dropout and weights from NumPy."""
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(np.random.randn(8, 3)))
    return model


def on_shared_backbone():
    """Return a factory of models that share frozen layers, whose batch norm has statistics in its buffers."""
    backbone = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU()).requires_grad_(False)
    return lambda: nn.Sequential(backbone, nn.Dropout(0.1), nn.Linear(8, 1))


def on_shared_memory():
    """Return a factory of models whose parameters are different, and lie in the same memory."""
    weights = torch.ones(1, 3)

    def factory():
        model = linear_model()
        model.weight = nn.Parameter(weights)  # as nn.Embedding.from_pretrained does
        return model

    return factory


def random_task(name):
    """Return a task that draws random numbers, or shares its model's tensors, in one of several ways."""
    options = {
        "validation": {"loss": None, "training_step": noisy_step},
        "numpy": {"training_step": masking_step},
        "dropout": {"model_factory": dropping},
        "backbone": {"model_factory": on_shared_backbone(), "valid": (3 * INPUTS + 1, TARGETS)},
        "memory": {"model_factory": on_shared_memory()},
        "all": {"model_factory": on_shared_backbone(), "loss": None, "training_step": masking_step},
    }
    return regression(**options[name])


def draw():
    """Draw from the global generators, as a caller does between two calls."""
    return torch.rand(()), np.random.rand(), random.random()


RANDOM_TASKS = ("validation", "numpy", "dropout", "backbone", "memory", "all")


@pytest.mark.parametrize("name", RANDOM_TASKS)
def test_a_trial_of_a_random_task_is_the_same_wherever_it_trains(name):
    """Alone, beside others in any order, in a lane used before, and whatever the caller has drawn."""
    task = random_task(name)
    data = ResidentData(task, 8, CPU)
    points = [Hyperparameters(0.05), Hyperparameters(0.01, "WSD"), Hyperparameters(0.02)]
    together = run(make_array(task, data), points)
    draw()
    backwards = run(make_array(task, data), points[::-1])
    array = make_array(task, data)
    for number, point in enumerate(points):
        [alone] = run(make_array(task, data), [point]).values()
        assert losses(alone) == losses(together[number]) == losses(backwards[2 - number])
        array.start(number, point)
        refilled = [array.run_epoch()[0] for _epoch in range(EPOCHS)]
        array.drop([number])
        assert losses(refilled) == losses(alone)


@pytest.mark.parametrize("name", RANDOM_TASKS)
def test_the_untrained_loss_is_the_same_whatever_was_drawn_or_trained_before(name):
    """By it a study sees whether its task has changed."""
    task = random_task(name)
    data = ResidentData(task, 8, CPU)
    before = make_array(task, data).untrained_loss
    run(make_array(task, data), [Hyperparameters(0.05)])
    draw()
    assert make_array(task, data).untrained_loss == before


@pytest.mark.parametrize("name", RANDOM_TASKS)
def test_training_leaves_the_global_random_states_alone(name):
    """A user's own numbers from torch, NumPy and Python do not depend on what is trained."""
    task = random_task(name)
    data, before = ResidentData(task, 8, CPU), random_state()
    array = make_array(task, data)
    for step in (
        lambda: array.untrained_loss,
        lambda: array.start(0, Hyperparameters(0.05)),
        array.run_epoch,
        array.run_epoch,
    ):
        step()
        assert random_state() == before


def test_training_never_reseeds_a_cuda_device_that_is_not_its_own(task, data, monkeypatch):
    """torch.manual_seed would reseed all of them, and leave them so."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    run(make_array(task, data), [Hyperparameters(0.1)])
    assert seeded == []


def test_the_noise_of_validation_is_the_same_at_every_epoch_and_the_seeds():
    """Losses of one model can be compared; those under another seed see other noise."""
    task = random_task("validation")
    data, model = ResidentData(task, 8, CPU), linear_model()
    first, again, other = (validate(task, model, data, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_any_split_is_evaluated_as_the_validation_split_is():
    """The same figures by their own names; batches of unequal size count by their examples."""
    task = regression(metrics={"mae": mae}, test=regression_data(13, seed=3))
    data, model = ResidentData(task, 2, CPU), linear_model()
    loss, metrics = validate(task, model, data, 0)
    assert evaluate(task, model, data.validation(), CPU, 0) == {"loss": loss, "mae": metrics["valid_mae"]}
    inputs, targets = regression_data(13, seed=3)
    figures = evaluate(task, model, data.test(), CPU, 0)
    assert figures["loss"] == pytest.approx(MSE(model(inputs), targets).item(), rel=1e-6)
    assert figures["mae"] == pytest.approx(mae(model(inputs), targets).item(), rel=1e-6)


def test_the_loss_of_a_validation_step_is_found_by_its_name():
    """Wherever it stands among the figures."""

    class LossLast(Task):
        def splits(self):
            return Splits(Split(INPUTS, TARGETS), Split(INPUTS, TARGETS))

        def validation_step(self, model, batch):
            outputs = model(batch[0])
            return {"mae": mae(outputs, batch[1]), "loss": MSE(outputs, batch[1]), "one": torch.ones(())}

    task, model = LossLast(), linear_model()
    loss, metrics = validate(task, model, ResidentData(task, 8, CPU), 0)
    assert loss == pytest.approx(MSE(model(INPUTS), TARGETS).item(), rel=1e-6)
    assert metrics == {
        "valid_mae": pytest.approx(mae(model(INPUTS), TARGETS).item(), rel=1e-6),
        "valid_one": 1.0,
    }


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"mae": torch.ones(())}, "must return a dict with 'loss'"),
        (
            {"loss": torch.ones(2)},
            r"the loss must be a scalar tensor in validation, .* \[2\]; take its .mean",
        ),
        ({"loss": torch.ones(()), "m": 3.0}, "the metric 'm' must be a scalar tensor .* a float; return a"),
    ],
)
def test_figures_that_cannot_be_averaged_are_refused(figures, message):
    """The error names the task and the figure."""
    task = regression(name="mine")
    task.validation_step = lambda _model, _batch: figures
    with pytest.raises(TaskError, match=f"mine: .*{message}"):
        validate(task, linear_model(), ResidentData(task, 8, CPU), 0)


@pytest.mark.parametrize("factory", [on_shared_backbone, on_shared_memory])
def test_what_models_share_is_never_trained_itself(factory):
    """Each has a copy; the tensors that a user made, statistics of batch norm included, stay as they were."""
    task = regression(model_factory=factory())
    original = task.build_model()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    run(make_array(task, ResidentData(task, 8, CPU)), [Hyperparameters(0.05), Hyperparameters(0.1)])
    shared = {"weight"} if factory is on_shared_memory else {name for name in before if name.startswith("0.")}
    assert all(torch.equal(original.state_dict()[name], before[name]) for name in shared)
    models = Models(task, CPU)
    one, other = models.build(0), models.build(0)
    assert not share_tensors(one, other)
    assert not share_tensors(one, original)


def test_models_that_share_nothing_are_trained_as_they_were_made():
    """Not copied: what a model's hooks refer to would stay the original."""

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)
            self.body.register_forward_hook(lambda _module, _inputs, outputs: self.keep(outputs))

        def keep(self, outputs):
            self.kept = outputs

        def forward(self, inputs):
            self.body(inputs)
            return self.head(self.kept)

    task = regression(model_factory=Watched)
    results = run(make_array(task, ResidentData(task, 8, CPU)), [Hyperparameters(0.05)])[0]
    assert results[-1].valid_loss < results[0].valid_loss


def test_a_shared_part_that_cannot_be_copied_is_refused():
    """With the reason, and the way out."""

    class Unique(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle '_thread.lock' object")

    part = Unique(3, 3).requires_grad_(False)
    task = regression(model_factory=lambda: nn.Sequential(part, nn.Linear(3, 1)), name="mine")
    with pytest.raises(
        TaskError, match=r"mine: .* share .*_thread.lock.*; make all of it inside of build_model"
    ):
        build_model(task, 0, CPU)


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
    assert isinstance(failure, LaneFailure)
    assert (failure.trial, failure.epoch, failure.reason) == (0, 1, "RuntimeError: too large")
    assert 'raise RuntimeError("too large' in failure.traceback
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


@pytest.mark.parametrize(("device", "precision"), [("cpu", "highest"), ("cuda", "high")])
def test_tf32_is_for_gpus_alone(device, precision):
    """A flag of PyTorch's, which computes in full precision unless asked."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        allow_tf32(torch.device(device))
        assert (before[0], torch.get_float32_matmul_precision()) == ("highest", precision)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


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
