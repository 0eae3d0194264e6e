"""Every optimizer through the reference trainer, against a plain loop."""

from importlib import import_module

import pytest
import torch
from torch import nn

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import OPTIMIZERS
from lrsearch.tasks.task import Task
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray, build_model, validate
from lrsearch.training.optimizers import build_optimizer

CPU = torch.device("cpu")
EPOCHS = 2

# Values other than the usual ones, so that one that gets lost is seen.
KNOBS = {
    "SGD": {"momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-2},
    "ASGD": {"lambd": 0.1, "alpha": 0.5, "t0": 1.0, "weight_decay": 0.1},
    "Adam": {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True},
    "AdamW": {"weight_decay": 0.5, "amsgrad": True},
    "Adamax": {"beta1": 0.5, "eps": 1e-3},
    "NAdam": {"momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    "RAdam": {"beta2": 0.9, "weight_decay": 0.1},
    "SparseAdam": {"beta1": 0.5},
    "RMSprop": {"alpha": 0.9, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.5},
    "Adadelta": {"rho": 0.5, "eps": 1e-3},
    "Adafactor": {"beta2_decay": -0.5, "eps1": 1e-3, "eps2": 1e-2, "d": 2.0},
    "Rprop": {"eta_minus": 0.4, "eta_plus": 1.5, "step_size_max": 0.1},
    "Muon": {"momentum": 0.5, "ns_steps": 3, "adjust_lr_fn": "match_rms_adamw"},
    "SGDScheduleFree": {"momentum": 0.8, "weight_decay": 1e-2, "r": 0.5, "weight_lr_power": 1.0},
    "AdamWScheduleFree": {"beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1, "r": 0.5},
    "LBFGS": {"max_iter": 3, "history_size": 5, "line_search_fn": "strong_wolfe"},
}
TUPLES = {
    "betas": ("beta1", "beta2"),
    "etas": ("eta_minus", "eta_plus"),
    "step_sizes": ("step_size_min", "step_size_max"),
}


def network():
    """Return a small network."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def matrices():
    """Return a network of matrices alone, which is what Muon takes."""
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False)).double()


class Lookup(nn.Module):
    """A table whose gradients are sparse, which is what SparseAdam takes."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 1, sparse=True, dtype=torch.float64)

    def forward(self, inputs):
        """Return the sum of the rows that the inputs name."""
        return self.table(inputs.abs().mul(3).long().clamp(max=9)).sum(dim=1)


MODELS = {"Muon": matrices, "SparseAdam": Lookup}


def task_for(name, **options):
    """Return a regression for an optimizer, in float64."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 3, generator=generator, dtype=torch.float64)
    targets = inputs.sum(dim=1, keepdim=True)
    return Task.from_tensors(
        MODELS.get(name, network),
        train=(inputs[:64], targets[:64]),
        valid=(inputs[64:], targets[64:]),
        loss=nn.functional.mse_loss,
        **options,
    )


def plain_optimizer(name, model, lr):
    """Return what a user would write for the knobs above."""
    arguments = {key: value for key, value in KNOBS[name].items() if key in {*signature_names(name)}}
    usual = {"beta1": 0.9, "beta2": 0.999, "eta_minus": 0.5, "eta_plus": 1.2, "step_size_min": 1e-6}
    for whole, parts in TUPLES.items():
        if set(parts) & set(KNOBS[name]):
            arguments[whole] = tuple(KNOBS[name].get(part, usual.get(part, 50.0)) for part in parts)
    if name == "Adafactor":
        arguments["eps"] = (1e-3, 1e-2)
    optimizer = class_named(name)(model.parameters(), lr=lr, **arguments)
    if name.endswith("ScheduleFree"):
        optimizer.train()
    return optimizer


def class_named(name):
    """Return an optimizer's class."""
    return getattr(import_module(OPTIMIZERS[name].package), name)


def signature_names(name):
    """Return the arguments of an optimizer's class."""
    return class_named(name).__init__.__code__.co_varnames


def train_plainly(task, data, name, lr):
    """Return train and validation losses of a loop as PyTorch's documentation writes it."""
    model = build_model(task, 0, CPU)
    optimizer = plain_optimizer(name, model, lr)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, EPOCHS * data.steps_per_epoch)
    curve = []
    for epoch in range(EPOCHS):
        losses = []
        if name.endswith("ScheduleFree"):
            optimizer.train()
        for [(inputs, targets)] in data.updates(0, epoch):

            def closure(inputs=inputs, targets=targets):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(inputs), targets)
                loss.backward()
                return loss

            losses.append(optimizer.step(closure).item())
            scheduler.step()
        if name.endswith("ScheduleFree"):
            optimizer.eval()
        curve.append((sum(losses) / len(losses), validate(task, model, data, 0)[0]))
    return curve


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_as_in_a_plain_loop(name):
    """Losses equal those of the class itself, its arguments written by hand."""
    task = task_for(name)
    data = load_data(task, 16, CPU)
    array = EagerArray(task, data, epochs=EPOCHS, optimizer=name, seed=0)
    array.start(0, Hyperparameters(0.05, "LinearLR", optimizer=KNOBS[name]))
    results = [array.run_epoch()[0] for _epoch in range(EPOCHS)]
    expected = train_plainly(task, data, name, 0.05)
    assert [result.valid_loss for result in results] == pytest.approx([v for _t, v in expected], rel=1e-6)
    assert [result.train_loss for result in results] == pytest.approx([t for t, _v in expected], rel=1e-6)
    assert results[-1].valid_loss < array.untrained_loss


def test_every_knob_reaches_its_optimizer():
    """Each value of the table above is found in what is built."""
    for name, knobs in KNOBS.items():
        model = MODELS.get(name, network)()
        ours = build_optimizer(name, model.parameters(), 0.05, knobs)
        assert ours.defaults == plain_optimizer(name, model, 0.05).defaults


def test_lbfgs_solves_least_squares():
    """A quadratic in few updates, where one of SGD gets nowhere near."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(64, 1, generator=generator, dtype=torch.float64)
    task = Task.from_tensors(
        lambda: nn.Linear(5, 1, bias=False).double(),
        train=(inputs, targets),
        valid=(inputs, targets),
        loss=nn.functional.mse_loss,
    )
    array = EagerArray(task, load_data(task, 64, CPU), epochs=3, optimizer="LBFGS", seed=0)
    array.start(0, Hyperparameters(1.0, optimizer={"line_search_fn": "strong_wolfe"}))
    result = [array.run_epoch()[0] for _epoch in range(3)][-1]
    best = torch.linalg.lstsq(inputs, targets).solution
    assert result.valid_loss == pytest.approx(float((inputs @ best - targets).square().mean()), rel=1e-9)


def test_an_unknown_optimizer_or_argument_is_refused():
    """With the nearest name."""
    parameters = [nn.Parameter(torch.zeros(1))]
    with pytest.raises(UnknownNameError, match=r"unknown optimizer 'SGDD'\. Did you mean 'ASGD'|'SGD'"):
        build_optimizer("SGDD", parameters, 0.1, {})
    with pytest.raises(UnknownNameError, match=r"'momentun'\. Did you mean 'momentum'"):
        build_optimizer("RMSprop", parameters, 0.1, {"momentun": 0.9})


def test_what_pytorch_refuses_is_an_error_of_the_users():
    """Muon with a bias: PyTorch's words, and what helps."""
    with pytest.raises(SpecError, match=r"torch\.optim\.Muon: .*2D.*AdamW"):
        build_optimizer("Muon", network().parameters(), 0.1, {})


def test_lbfgs_takes_one_learning_rate():
    """Groups of one scale are joined; scales that differ are refused."""
    first, second = (nn.Parameter(torch.zeros(2)) for _ in range(2))

    def groups(scale):
        return [{"params": [first], "lr_scale": 0.5}, {"params": [second], "lr_scale": scale}]

    [group] = build_optimizer("LBFGS", groups(0.5), 1.0, {}).param_groups
    assert group["params"] == [first, second]
    assert group["lr"] == 0.5
    with pytest.raises(SpecError, match=r"LBFGS updates all parameters with one learning rate.*0\.1, 0\.5"):
        build_optimizer("LBFGS", groups(0.1), 1.0, {})
