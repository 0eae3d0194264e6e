"""Schedule-free optimizers in training: what is judged is their average, with statistics of its own."""

import pytest
import torch
from torch import nn

from lrsearch.errors import SpecError
from lrsearch.training import optimizers
from lrsearch.training.averaging import is_averaging, put_average, put_training_weights
from lrsearch.training.data import ResidentData
from lrsearch.training.optimizers import build_optimizer
from tests.tasks.plain import regression

CPU = torch.device("cpu")
NAMES = ["SGDScheduleFree", "AdamWScheduleFree"]


def normalised():
    """Return a network whose batch normalisation moves its statistics at once to those of a batch."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=1.0), nn.Linear(4, 1))


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


@pytest.mark.parametrize("name", NAMES)
def test_batch_normalisation_gets_the_statistics_of_the_average(name):
    """Those of the last of the batches that went through it, of its own weights."""
    task, data, model, optimizer = trained(name)
    put_average(task, model, optimizer, data, seed=0, epoch=0)
    *_, [(inputs, _targets)] = data.updates(0, 0)
    expected = model[0](inputs).mean(dim=0)
    torch.testing.assert_close(model[1].running_mean, expected, rtol=1e-5, atol=1e-6)
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


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
