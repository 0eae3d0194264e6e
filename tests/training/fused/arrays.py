"""The two trainers on one task, driven alike."""

import torch
from torch import nn

from lrsearch.results import EpochResult
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.task import Split, Splits, Task
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray, Models
from lrsearch.training.fused.array import FusedArray
from lrsearch.training.fused.fitting import Fit, fit

CPU = torch.device("cpu")
EXAMPLES, FEATURES, CLASSES, BATCH_SIZE = 96, 6, 3, 8
STEPS_PER_EPOCH = EXAMPLES // BATCH_SIZE
EPOCHS = 17  # 204 updates


def perceptron():
    """Return a chain of two layers."""
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))


class Blobs(Task):
    """Points around three centres, to be told apart."""

    batch_size, epochs = BATCH_SIZE, EPOCHS

    def __init__(self, model=None, **settings):
        self._model = model or (
            lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))
        )
        for name, value in settings.items():
            setattr(self, name, value)

    def build_model(self):
        """Return a fresh model."""
        return self._model()

    def loss(self, outputs, targets):
        """Return the mean cross-entropy."""
        return nn.functional.cross_entropy(outputs, targets)

    def splits(self):
        """Return the points, the same at every call."""
        generator = torch.Generator().manual_seed(7)
        centres = torch.randn(CLASSES, FEATURES, generator=generator)

        def split(examples):
            targets = torch.randint(0, CLASSES, (examples,), generator=generator)
            noise = torch.randn(examples, FEATURES, generator=generator)
            return Split((centres[targets] + noise).to(torch.get_default_dtype()), targets)

        return Splits(split(EXAMPLES), split(40))


def point(lr, kind="CosineAnnealingLR", knobs=None, **optimizer):
    """Return the hyperparameters of a lane."""
    return Hyperparameters(lr, kind, knobs or {}, 0.0, optimizer)


def fused(task, lanes, optimizer="SGD", *, points, seed=0, epochs=EPOCHS, data=None):
    """Return a fused array whose task fits."""
    data = data or load_data(task, task.batch_size, CPU)
    found = fit(task, data, Models(task, CPU).build(seed), optimizer, points[0])
    assert isinstance(found, Fit), found
    return FusedArray(task, data, found, epochs=epochs, optimizer=optimizer, seed=seed, lanes=lanes)


def eager(task, optimizer="SGD", *, seed=0, epochs=EPOCHS, data=None):
    """Return the reference trainer."""
    data = data or load_data(task, task.batch_size, CPU)
    return EagerArray(task, data, epochs=epochs, optimizer=optimizer, seed=seed)


def trained(array, points, epochs=EPOCHS):
    """Train points together, and return results by trial and tensors by trial."""
    for trial, hyperparameters in enumerate(points):
        array.start(trial, hyperparameters)
    curves = {trial: [] for trial in range(len(points))}
    for _epoch in range(epochs):
        for result in array.run_epoch():
            assert isinstance(result, EpochResult), result
            curves[result.trial].append(result)
    return curves, {trial: array.state_dict(trial) for trial in curves}


def trained_in_turn(array, points, epochs):
    """Train points that start an epoch after each other, and return results and tensors by trial."""
    curves, tensors = {trial: [] for trial in range(len(points))}, {}
    for epoch in range(epochs + len(points) - 1):
        if epoch < len(points):
            array.start(epoch, points[epoch])
        for result in array.run_epoch():
            curves[result.trial].append(result)
        ended = [trial for trial, curve in curves.items() if len(curve) == epochs and trial not in tensors]
        tensors |= {trial: array.state_dict(trial) for trial in ended}
        array.drop(ended)
    return curves, tensors


def figures(curve):
    """Return the numbers of a curve, without its times, as a tensor."""
    rows = [[r.train_loss, r.valid_loss, r.lr, *r.metrics.values()] for r in curve]
    return torch.tensor(rows, dtype=torch.float64)


def assert_same(one, other, rtol, atol):
    """Assert that two runs gave the same curves and tensors."""
    (curves, tensors), (other_curves, other_tensors) = one, other
    for trial, curve in curves.items():
        torch.testing.assert_close(figures(curve), figures(other_curves[trial]), rtol=rtol, atol=atol)
        assert tensors[trial].keys() == other_tensors[trial].keys()
        for name, tensor in tensors[trial].items():
            torch.testing.assert_close(tensor, other_tensors[trial][name], rtol=rtol, atol=atol, msg=name)
