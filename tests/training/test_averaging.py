"""Schedule-free optimizers in training: what is judged is their average, with statistics of its own."""

import pytest
import torch
from torch import nn

from lrsearch.errors import SpecError
from lrsearch.results import EpochResult
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.training import optimizers
from lrsearch.training.averaging import is_averaging, put_average, put_training_weights
from lrsearch.training.data import ResidentData
from lrsearch.training.eager import EagerArray
from lrsearch.training.logged_run import LoggedRun
from lrsearch.training.optimizers import build_optimizer
from tests.tasks.plain import regression, regression_data

CPU = torch.device("cpu")
NAMES = ["SGDScheduleFree", "AdamWScheduleFree"]


def normalised(momentum=0.1):
    """Return a network with batch normalisation."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=momentum), nn.Linear(4, 1))


def trained(name, factory=normalised, lr=0.5):
    """Return a task, its data, and a model with its optimizer after some updates."""
    task = regression(model_factory=factory)
    data = ResidentData(task, 8, CPU)
    torch.manual_seed(0)
    model = factory()
    optimizer = build_optimizer(name, model.parameters(), lr, {})
    for [batch] in data.updates(0, 0):
        optimizer.zero_grad()
        task.training_step(model, batch).backward()
        optimizer.step()
    return task, data, model, optimizer


@pytest.mark.parametrize("name", NAMES)
def test_the_average_is_put_into_the_model_and_taken_out_again(name):
    """The weights that train are what they were before."""
    task, data, model, optimizer = trained(name)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    put_average(task, model, optimizer, data, seed=0, epoch=0)
    assert not any(group["train_mode"] for group in optimizer.param_groups)
    averages = [parameter.detach().clone() for parameter in model.parameters()]
    assert not torch.allclose(averages[0], before[0])
    put_training_weights(optimizer)
    for parameter, expected in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.1, 0.01, None])
@pytest.mark.parametrize("name", NAMES)
def test_batch_normalisation_gets_the_statistics_of_the_average(name, momentum):
    """Plain means over the batches of an epoch, whatever was there before; its own momentum is kept."""
    task, data, model, optimizer = trained(name, lambda: normalised(momentum))
    put_average(task, model, optimizer, data, seed=0, epoch=0)
    inside = [model[0](inputs).detach() for [(inputs, _targets)] in data.updates(0, 0)]
    mean = torch.stack([each.mean(dim=0) for each in inside]).mean(dim=0)
    variance = torch.stack([each.var(dim=0) for each in inside]).mean(dim=0)
    torch.testing.assert_close(model[1].running_mean, mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model[1].running_var, variance, rtol=1e-5, atol=1e-6)
    assert model[1].momentum == momentum


def test_a_layer_that_is_kept_out_of_training_keeps_its_statistics():
    """As in fine-tuning with frozen statistics."""

    class Frozen(nn.BatchNorm1d):
        def train(self, mode=True):  # noqa: ARG002 # it never trains
            return super().train(False)

    task, data, model, optimizer = trained(
        "SGDScheduleFree", lambda: nn.Sequential(nn.Linear(3, 4), Frozen(4).eval(), nn.Linear(4, 1))
    )
    put_average(task, model, optimizer, data, seed=0, epoch=0)
    assert torch.equal(model[1].running_mean, torch.zeros(4))


class Own(nn.BatchNorm1d):
    """A layer whose forward is its own, and takes its momentum for a number."""

    def forward(self, inputs):
        """Normalise as usual."""
        statistics = (self.running_mean, self.running_var)
        own = (self.weight, self.bias, self.training, self.momentum, self.eps)
        return nn.functional.batch_norm(inputs, *statistics, *own)


def test_a_layer_of_the_users_own_gets_plain_means_too():
    """Although it cannot do without a number for its momentum."""
    task, data, model, optimizer = trained(
        "SGDScheduleFree", lambda: nn.Sequential(nn.Linear(3, 4), Own(4), nn.Linear(4, 1))
    )
    put_average(task, model, optimizer, data, seed=0, epoch=0)
    inside = [model[0](inputs).detach() for [(inputs, _targets)] in data.updates(0, 0)]
    mean = torch.stack([each.mean(dim=0) for each in inside]).mean(dim=0)
    torch.testing.assert_close(model[1].running_mean, mean, rtol=1e-5, atol=1e-6)
    assert model[1].momentum == 0.1


def test_a_layer_that_no_batch_reaches_keeps_its_statistics():
    """Such as one that validation alone uses."""

    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.other = normalised(), nn.BatchNorm1d(4)
            self.other.running_mean.fill_(2.0)

        def forward(self, inputs):
            return self.net(inputs)

    task, data, model, optimizer = trained("SGDScheduleFree", Beside)
    put_average(task, model, optimizer, data, seed=0, epoch=0)
    assert torch.equal(model.other.running_mean, torch.full((4,), 2.0))


@pytest.mark.parametrize("name", NAMES)
def test_a_trainer_judges_the_average_with_its_own_statistics(name):
    """Both that of the search and the one that logs; computed here by hand."""
    task = regression(model_factory=lambda: normalised(0.01))
    data = ResidentData(task, 32, CPU)  # two updates in an epoch: old statistics would hardly move
    point = Hyperparameters(lr=0.3, kind="constant", knobs={}, warmup_fraction=0.0)
    array = EagerArray(task, data, epochs=3, optimizer=name, seed=0)
    array.start(0, point)
    searched = [array.run_epoch()[0] for _epoch in range(3)][-1]
    logged = list(LoggedRun(task, data, name, Schedule(point, 3, data.steps_per_epoch), 0).epochs())[-1]
    model = array.model(0)
    model[1].reset_running_stats()
    model[1].momentum = None
    model.train()
    for [(inputs, _targets)] in data.updates(0, 2):
        model(inputs)
    model.eval()
    inputs, targets = regression_data(40, seed=1)
    expected = nn.functional.mse_loss(model(inputs), targets).item()
    assert searched.valid_loss == pytest.approx(expected, rel=1e-4)
    assert logged.valid_loss == pytest.approx(expected, rel=1e-4)


def test_a_training_step_that_differentiates_takes_statistics_too():
    """Such as one with a penalty on gradients by inputs."""

    def penalised(model, batch):
        inputs, targets = batch
        inputs = inputs.clone().requires_grad_()
        outputs = model(inputs)
        [slopes] = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        return nn.functional.mse_loss(outputs, targets) + 0.01 * slopes.square().mean()

    task = regression(model_factory=normalised, training_step=penalised)
    array = EagerArray(task, ResidentData(task, 8, CPU), epochs=1, optimizer="SGDScheduleFree", seed=0)
    array.start(0, Hyperparameters(lr=0.1, kind="constant", knobs={}, warmup_fraction=0.0))
    [result] = array.run_epoch()
    assert isinstance(result, EpochResult)


def test_other_optimizers_are_judged_by_what_they_train():
    """Nothing is done for them, and no statistics are taken anew."""
    task, data, model, optimizer = trained("AdamW", lr=0.01)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not is_averaging(optimizer)
    put_training_weights(optimizer)
    put_average(task, model, optimizer, data, seed=0, epoch=0)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_an_optimizer_is_built_ready_to_train():
    """Its first update needs no call before."""
    assert is_averaging(build_optimizer("SGDScheduleFree", [nn.Parameter(torch.zeros(1))], 0.1, {}))
    [group] = build_optimizer("SGDScheduleFree", [nn.Parameter(torch.zeros(1))], 0.1, {}).param_groups
    assert group["train_mode"]


def test_without_its_package_the_command_that_installs_it_is_told(monkeypatch):
    """And not a traceback of an import."""

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(optimizers, "import_module", missing)
    with pytest.raises(SpecError, match=r"schedulefree, which is not installed: pip install 'lrsearch\["):
        build_optimizer("AdamWScheduleFree", [nn.Parameter(torch.zeros(1))], 0.1, {})


def test_what_its_class_refuses_is_an_error_of_the_users():
    """In the words of the package."""
    with pytest.raises(SpecError, match=r"schedulefree\.SGDScheduleFree: Momentum must be between 0 and 1"):
        build_optimizer("SGDScheduleFree", [nn.Parameter(torch.zeros(1))], 0.1, {"momentum": 0.0})
