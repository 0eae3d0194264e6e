"""The fused trainer against the reference: lanes equal trials that train alone, parameter by parameter."""

import pytest
import torch
from torch import nn

from lrsearch.errors import SpecError
from lrsearch.results import EpochResult, LaneFailure
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.tasks import load_task
from lrsearch.training.fused.linear_chain import LinearChain
from lrsearch.training.fused.vmapped import VmappedModule
from tests.training.fused.arrays import (
    CLASSES,
    EPOCHS,
    FEATURES,
    Blobs,
    assert_same,
    eager,
    figures,
    fused,
    point,
    trained,
    trained_in_turn,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(autouse=True)
def double_precision():
    """Train in float64, where rounding does not hide faults."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Residual(nn.Module):
    """No chain: its input is added to its output."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(FEATURES, FEATURES)
        self.last = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs):
        """Return the scores."""
        return self.last(inputs + torch.tanh(self.inner(inputs)))


class Normalised(nn.Module):
    """Convolution, batch norm and pooling over the features."""

    def __init__(self):
        super().__init__()
        # without the bias, whose gradient is nothing but rounding, which Adam makes large
        self.convolution = nn.Conv1d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, CLASSES)

    def forward(self, inputs):
        """Return the scores."""
        return self.last(torch.relu(self.norm(self.convolution(inputs.unsqueeze(1)))).mean(2))


def dropping():
    """Return a chain with dropout."""
    return nn.Sequential(
        nn.Dropout(0.2), nn.Linear(FEATURES, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES)
    )


def tanh_chain():
    """Return a chain with other activations, an inner chain and a layer without bias."""
    inner = nn.Sequential(nn.Linear(8, 5, bias=False), nn.Sigmoid())
    return nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 8), nn.Tanh(), inner, nn.Linear(5, CLASSES))


def shared_activation():
    """Return a chain in which one module stands twice, and matters little at first."""
    tanh = nn.Tanh()
    model = nn.Sequential(nn.Linear(FEATURES, 8), tanh, nn.Linear(8, 8), tanh, nn.Linear(8, CLASSES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-3)
    return model


class Peak(nn.Module):
    """Keeps a running peak in a buffer, by assignment, that the first batches do not reach."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("peak", torch.tensor(3.0))

    def forward(self, inputs):
        """Return the scores, scaled by the peak so far."""
        scores = self.last(inputs)
        if self.training:
            self.peak = torch.maximum(self.peak, scores.detach().abs().max())
        return scores / self.peak


SGD = [
    {},
    {"dampening": 0.5},
    {"momentum": 0.9},
    {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01},
    {"momentum": 0.7, "nesterov": True, "weight_decay": 0.1},
    {"weight_decay": 0.05},
]
ADAM = [
    {},
    {"beta1": 0.5, "beta2": 0.9},
    {"weight_decay": 0.1},
    {"amsgrad": True, "eps": 1e-4},
    {"amsgrad": True, "weight_decay": 0.02, "beta2": 0.99},
]
DECOUPLED = [{**knobs, "decoupled_weight_decay": i % 2 == 0} for i, knobs in enumerate(ADAM)]
OPTIMIZERS = [
    ("SGD", SGD),
    ("SGD", SGD[:4]),
    ("SGD", SGD[::5]),
    ("Adam", ADAM),
    ("Adam", DECOUPLED),
    ("AdamW", ADAM),
]


@pytest.mark.parametrize("model", [None, Residual], ids=["chain", "vmap"])
@pytest.mark.parametrize(("optimizer", "settings"), OPTIMIZERS)
def test_lanes_with_settings_of_their_own_equal_trials_alone(model, optimizer, settings):
    """Two hundred updates give each lane the parameters that torch.optim gives it, to 1e-10."""
    task = Blobs(model)
    lr = 0.05 if optimizer == "SGD" else 0.01
    points = [point(lr * (i + 1), **knobs) for i, knobs in enumerate(settings)]
    array = fused(task, len(points), optimizer, points=points)
    assert_same(trained(array, points), trained(eager(task, optimizer), points), **EXACT)


@pytest.mark.parametrize(
    ("model", "way"),
    [
        (None, LinearChain),
        (tanh_chain, LinearChain),
        (shared_activation, LinearChain),
        (Peak, VmappedModule),
        (Residual, VmappedModule),
        (Normalised, VmappedModule),
        (dropping, VmappedModule),
    ],
)
@pytest.mark.parametrize(
    "settings", [{}, {"clip_norm": 0.1}, {"accumulate": 2}, {"accumulate": 3, "clip_norm": 0.5}]
)
def test_models_and_updates_of_every_form_equal_trials_alone(model, way, settings):
    """Batch norm with its statistics, dropout, clipping and accumulation give what PyTorch gives."""
    task = Blobs(model, **settings)
    points = [point(lr, momentum=0.5) for lr in (0.01, 0.1, 0.3)]
    array = fused(task, len(points), points=points)
    assert isinstance(array._fit.network, way)
    assert_same(trained(array, points), trained(eager(task), points), **EXACT)


@pytest.mark.parametrize("kind", ["ReduceLROnPlateau", "OneCycleLR", "StepLR"])
def test_a_lane_follows_its_own_schedule(kind):
    """Schedules with and without feedback drive their lanes as they drive a trial alone."""
    points = [point(0.05, kind), point(0.5, kind), point(0.1)]
    task = Blobs()
    assert_same(trained(fused(task, 3, points=points), points), trained(eager(task), points), **EXACT)


@pytest.mark.parametrize("model", [None, Residual], ids=["chain", "vmap"])
def test_groups_of_parameters_train_at_their_own_rates(model):
    """Factors, layer decay and frozen layers act in every lane as alone."""
    frozen = ("0.*",) if model is None else ("inner.*",)
    last = "2.*" if model is None else "last.*"
    points = [
        Hyperparameters(0.1, lr_scales={last: 0.1}, frozen=frozen),
        Hyperparameters(0.2, lr_scales={last: 3.0}, frozen=frozen),
    ]
    task = Blobs(model)
    assert_same(trained(fused(task, 2, points=points), points), trained(eager(task), points), **EXACT)
    decayed = [Hyperparameters(0.1, layer_decay=0.5), Hyperparameters(0.1, layer_decay=0.9)]
    assert_same(trained(fused(task, 2, points=decayed), decayed), trained(eager(task), decayed), **EXACT)


@pytest.mark.parametrize("model", [None, Residual, Normalised, dropping])
def test_lanes_that_come_and_go_leave_the_others_as_they_are(model):
    """A trial's curve is the same whoever trains beside it, and whenever it starts."""
    task, points = Blobs(model), [point(0.02 * (i + 1), momentum=0.1 * i) for i in range(5)]
    alone, _tensors = trained(eager(task, epochs=6), points, epochs=6)
    array = fused(task, 3, points=points, epochs=6)
    curves = {trial: [] for trial in range(5)}
    starts, drops = {0: [0, 1], 2: [2], 3: [3], 5: [4]}, {3: [1], 5: [0]}
    for epoch in range(8):
        array.drop(drops.get(epoch, []))
        for trial in starts.get(epoch, []):
            array.start(trial, points[trial])
        for result in array.run_epoch():
            curves[result.trial].append(result)
        array.drop([trial for trial, curve in curves.items() if len(curve) == 6])
    assert [len(curves[trial]) for trial in range(5)] == [5, 3, 6, 5, 3]
    for trial, curve in curves.items():
        expected = figures(alone[trial][: len(curve)])
        torch.testing.assert_close(figures(curve), expected, **EXACT)


@pytest.mark.parametrize("model", [None, Residual])
def test_a_lane_that_becomes_nan_harms_no_other(model):
    """A trial whose weights overflow leaves its neighbours their curves."""
    task, points = Blobs(model), [point(0.05), point(1e308, momentum=0.9), point(0.1)]
    curves, _tensors = trained(fused(task, 3, points=points), points)
    alone, _tensors = trained(eager(task), [points[0], points[2]])
    assert not figures(curves[1])[-1, 1].isfinite()
    torch.testing.assert_close(figures(curves[0]), figures(alone[0]), **EXACT)
    torch.testing.assert_close(figures(curves[2]), figures(alone[1]), **EXACT)


def test_a_schedule_that_fails_ends_its_own_lane_alone():
    """Others go on when a rule of the user's raises in one lane."""

    class Failing(Schedule):
        def epoch_lrs(self, epoch, state):
            if epoch == 2:
                raise SpecError("no rate left")
            return super().epoch_lrs(epoch, state)

    task, points = Blobs(), [point(0.05), point(0.1), point(0.2)]
    array = fused(task, 3, points=points)
    for trial, hyperparameters in enumerate(points):
        array.start(trial, hyperparameters)
    array._lanes[1].schedule = Failing(points[1], EPOCHS, array.steps_per_epoch)
    results = [array.run_epoch() for _epoch in range(4)]
    assert [[r.trial for r in each] for each in results] == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 2]]
    assert results[2][1] == LaneFailure(1, 3, "SpecError: no rate left")
    alone, _tensors = trained(eager(task), points)
    last = [result for result in results[3] if isinstance(result, EpochResult)]
    expected = torch.stack([figures(alone[trial])[3] for trial in (0, 2)])
    torch.testing.assert_close(figures(last), expected, **EXACT)


def test_metrics_keep_their_names():
    """A metric may be called as the losses are."""
    metrics = {
        "train_loss": lambda outputs, _targets: outputs.mean(),
        "lr": lambda outputs, _targets: outputs.max(),
    }
    task, points = Blobs(metrics=metrics), [point(0.1)]
    assert_same(trained(fused(task, 1, points=points), points), trained(eager(task), points), **EXACT)


def test_a_lane_may_have_a_seed_of_its_own():
    """Weights, batches and dropout of a lane are those of its seed."""
    task, points = Blobs(dropping), [point(0.1), point(0.1)]
    array = fused(task, 2, points=points)
    array.start(0, points[0], seed=3)
    array.start(1, points[1])
    curves = {0: [], 1: []}
    for _epoch in range(EPOCHS):
        for result in array.run_epoch():
            curves[result.trial].append(result)
    for trial, seed in {0: 3, 1: 0}.items():
        alone, _tensors = trained(eager(task, seed=seed), [points[0]])
        torch.testing.assert_close(figures(curves[trial]), figures(alone[0]), **EXACT)


def test_a_run_on_the_digits_equals_that_of_trials_alone(tmp_path):
    """Over ten epochs of the digits, lanes at different epochs differ from trials alone by less than 1e-6."""
    task = load_task("digits-mlp", tmp_path)
    points = [point(lr, momentum=0.3) for lr in (0.01, 0.05, 0.2)]
    alone, _tensors = trained(eager(task, epochs=10), points, epochs=10)
    array = fused(task, 3, points=points, epochs=10)
    curves, _tensors = trained_in_turn(array, points, epochs=10)
    for trial, curve in curves.items():
        torch.testing.assert_close(figures(curve), figures(alone[trial]), rtol=1e-6, atol=0)
