"""What cannot be fused is recognised before training, with the reason, and trained one by one."""

import numpy as np
import pytest
import torch
from torch import nn

from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.task import Split, Splits
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray, Models
from lrsearch.training.fused.array import FusedArray
from lrsearch.training.fused.fitting import Fit, Misfit, fit
from lrsearch.training.fused.linear_chain import LinearChain
from lrsearch.training.fused.vmapped import VmappedModule
from lrsearch.training.trainer import TrialSettings, create_trainer
from tests.training.fused.arrays import CLASSES, CPU, FEATURES, Blobs, perceptron
from tests.training.fused.test_parity import Normalised, dropping

ANY = Hyperparameters(0.1)


class Branching(nn.Module):
    """Decides by the data what to return."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs):
        """Return the scores of two layers, turned round where their sum is negative."""
        scores = self.one(inputs) + self.other(inputs)
        return scores if scores.sum() > 0 else -scores


class Counting(nn.Linear):
    """Keeps a number in Python."""

    calls = 0

    def __init__(self):
        super().__init__(FEATURES, CLASSES)

    def forward(self, inputs):
        """Return the scores, which fade with every call."""
        self.calls += 1
        return super().forward(inputs) / self.calls


class Remembering(nn.Linear):
    """Keeps a tensor that is no buffer."""

    def __init__(self):
        super().__init__(FEATURES, CLASSES)
        self.last = torch.zeros(CLASSES)

    def forward(self, inputs):
        """Return the scores, with a trace of those before."""
        scores = super().forward(inputs)
        result = scores + 0.1 * self.last
        self.last = scores.detach().mean(0)
        return result


class Private(nn.Linear):
    """Keeps a list under a private name, which acts later."""

    def __init__(self):
        super().__init__(FEATURES, CLASSES)
        self._seen = []

    def forward(self, inputs):
        """Return the scores, at first the plain ones."""
        self._seen.append(len(inputs))
        return super().forward(inputs) * (0.5 if len(self._seen) > 20 else 1.0)


class LateCounting(nn.Linear):
    """Counts, if it is told to, and acts on the count much later."""

    def __init__(self, step):
        super().__init__(FEATURES, FEATURES)
        self.calls, self.step = 0, step

    def forward(self, inputs):
        """Return the scores, at first the plain ones."""
        self.calls += self.step
        return super().forward(inputs) * (0.5 if self.calls > 20 else 1.0)


def one_of_two_counts():
    """Return a model whose first module of a class counts, and whose second does not."""
    return nn.Sequential(LateCounting(1), LateCounting(0), nn.Linear(FEATURES, CLASSES))


class Idle(nn.Linear):
    """Has a parameter that takes no part in the loss."""

    def __init__(self):
        super().__init__(FEATURES, CLASSES)
        self.idle = nn.Parameter(torch.ones(2))


class ThroughNumpy(nn.Linear):
    """Leaves PyTorch in its forward."""

    def __init__(self):
        super().__init__(FEATURES, CLASSES)

    def forward(self, inputs):
        """Return the scores, scaled by what NumPy says."""
        return super().forward(inputs) * float(np.abs(self.weight.detach().numpy()).mean())


def found_for(task, optimizer="SGD"):
    """Return how a task is trained in lanes."""
    data = load_data(task, task.batch_size, CPU)
    return fit(task, data, Models(task, CPU).build(0), optimizer, ANY)


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (Branching, "reads numbers out of tensors"),
        (Counting, "calls of Counting"),
        (Remembering, "last of Remembering"),
        (Private, "_seen of Private"),
        (one_of_two_counts, "calls of LateCounting '0'"),
        (Idle, "idle takes no part in the loss"),
        (ThroughNumpy, "storage"),
        (
            lambda: nn.utils.parametrizations.weight_norm(nn.Linear(FEATURES, CLASSES)),
            "aten::_weight_norm_interface",
        ),
    ],
)
def test_a_model_that_cannot_be_vectorised_is_recognised_with_the_reason(model, word):
    """Data-dependent control flow, state outside of buffers, and other libraries are found out."""
    found = found_for(Blobs(model))
    assert isinstance(found, Misfit)
    assert word in found.reason


def test_a_class_to_be_ignored_is_ignored():
    """A loss that leaves out a class is not the cross-entropy that is written out by hand."""
    found = found_for(Blobs(loss=nn.CrossEntropyLoss(ignore_index=1)))
    assert isinstance(found.network, LinearChain)
    assert found.network.differentiates


def test_a_model_that_writes_into_its_inputs_leaves_the_data_alone():
    """Neither trying it out nor validating it changes what the user's tensors hold."""

    class Shifting(nn.Linear):
        def __init__(self):
            super().__init__(FEATURES, CLASSES)

        def forward(self, inputs):
            return super().forward(inputs.sub_(0.1))

    task = Blobs(Shifting)
    splits = task.splits()
    task.splits = lambda: splits
    before = [split.inputs.clone() for split in (splits.train, splits.valid)]
    data = load_data(task, task.batch_size, CPU)
    fit(task, data, Models(task, CPU).build(0), "SGD", ANY)
    array = EagerArray(task, data, epochs=3, optimizer="SGD", seed=0)
    array.start(0, ANY)
    array.run_epoch()
    for split, inputs in zip((splits.train, splits.valid), before, strict=True):
        assert torch.equal(split.inputs, inputs)


@pytest.mark.parametrize("optimizer", ["LBFGS", "RMSprop", "Muon"])
def test_other_optimizers_are_named(optimizer):
    """Only SGD, Adam and AdamW are stacked."""
    found = found_for(Blobs(), optimizer)
    assert found == Misfit(f"{optimizer} is not among SGD, Adam, AdamW")


def test_a_loss_that_reads_numbers_is_recognised():
    """A loss with .item() cannot be vectorised."""
    found = found_for(Blobs(loss=lambda outputs, _targets: outputs.sum() * outputs.sum().item()))
    assert isinstance(found, Misfit)
    assert ".item()" in found.reason


@pytest.mark.parametrize(
    ("model", "network", "random"),
    [
        (perceptron, LinearChain, False),
        (Normalised, VmappedModule, False),
        (dropping, VmappedModule, True),
        (
            lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.GELU(), nn.Linear(4, CLASSES)),
            VmappedModule,
            False,
        ),
        (lambda: nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.BatchNorm1d(CLASSES)), VmappedModule, False),
    ],
)
def test_a_model_takes_the_fastest_way_that_fits_it(model, network, random):
    """Chains of linear layers are written out; all else is vectorised; chance is noticed."""
    found = found_for(Blobs(model))
    assert isinstance(found, Fit)
    assert isinstance(found.network, network)
    assert found.random == random


def test_a_chain_with_an_observer_is_no_chain():
    """A hook on a layer is called, so the layer is not written out by hand."""

    def observed():
        model = perceptron()
        model[0].register_forward_hook(lambda *called: 2 * called[2])
        return model

    assert isinstance(found_for(Blobs(observed)).network, VmappedModule)


def test_targets_to_be_ignored_are_ignored():
    """Class numbers of -100 take no part in the loss, as in nn.CrossEntropyLoss."""

    class Partly(Blobs):
        def splits(self):
            splits = super().splits()
            targets = splits.train.targets.clone()
            targets[::3] = -100
            return Splits(Split(splits.train.inputs, targets), splits.valid)

    task = Partly()
    data = load_data(task, task.batch_size, CPU)
    settings = TrialSettings(3, "SGD", 0, ANY)
    array = create_trainer(task, data, settings, lanes=2, at_most=2).array
    alone = EagerArray(task, data, epochs=3, optimizer="SGD", seed=0)
    assert isinstance(array, FusedArray)
    for each in (array, alone):
        each.start(0, ANY)
    assert array.run_epoch()[0].train_loss == pytest.approx(alone.run_epoch()[0].train_loss, rel=1e-5)


def test_a_task_in_bfloat16_is_fused():
    """Rounding to eight bits is not taken for a difference."""
    assert isinstance(found_for(Blobs(amp=True)), Fit)


def test_what_does_not_fit_trains_one_by_one_with_the_reference_trainer():
    """The trainer says why, and takes one trial at a time unless told otherwise."""
    task = Blobs(Branching)
    data = load_data(task, task.batch_size, CPU)
    settings = TrialSettings(3, "SGD", 0, ANY)
    trainer = create_trainer(task, data, settings, lanes=None, at_most=8)
    assert isinstance(trainer.array, EagerArray)
    assert trainer.lanes == 1
    assert "reads numbers" in trainer.reason
    assert create_trainer(task, data, settings, lanes=3, at_most=8).lanes == 3


def test_fitting_leaves_no_trace_in_global_randomness():
    """A search that follows draws what it would have drawn."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    found_for(Blobs(dropping))
    assert torch.equal(torch.random.get_rng_state(), before)
