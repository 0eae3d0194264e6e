"""Parameter groups: who gets which learning rate, and that schedules keep them in proportion."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrsearch.errors import SpecError
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.task import Task
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray, build_model, validate
from lrsearch.training.groups import check_groups, layers_above, parameter_groups, set_lr
from lrsearch.training.optimizers import build_optimizer

CPU = torch.device("cpu")
EPOCHS = 6


def network():
    """Return three layers with a norm after the first."""
    parts = {
        "body": nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh()),
        "head": nn.Linear(8, 1),
    }
    model = nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    return model.double()


class Tied(nn.Module):
    """An embedding whose matrix the output shares."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.output = nn.Linear(4, 5)
        self.output.weight = self.embedding.weight


def scales_of(model, point):
    """Return the factor on lr of every parameter that trains, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, point)
    return {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}


def regression():
    """Return a task in float64."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 3, generator=generator, dtype=torch.float64)
    targets = inputs.prod(dim=1, keepdim=True)
    train, valid = (inputs[:64], targets[:64]), (inputs[64:], targets[64:])
    return Task.from_tensors(network, train=train, valid=valid, loss=nn.functional.mse_loss)


def curves(points, optimizer="SGD"):
    """Train points together and return the results of each."""
    task = regression()
    array = EagerArray(task, load_data(task, 8, CPU), epochs=EPOCHS, optimizer=optimizer, seed=0)
    for trial, point in enumerate(points):
        array.start(trial, point)
    found = [[] for _point in points]
    for _epoch in range(EPOCHS):
        for result in array.run_epoch():
            found[result.trial].append((result.train_loss, result.valid_loss, result.lr))
    return found


def test_without_patterns_all_parameters_are_one_group_in_the_models_order():
    """What torch.optim makes of model.parameters()."""
    model = network()
    [group] = parameter_groups(model, Hyperparameters(0.1))
    assert group["lr_scale"] == 1
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_a_parameter_takes_the_first_pattern_that_matches():
    """And 1 if none does; groups are named by their patterns."""
    point = Hyperparameters(0.1, lr_scales={"body.0.*": 0.01, "body.*": 0.1})
    scales = scales_of(network(), point)
    assert scales["body.0.bias"] == 0.01
    assert scales["body.1.weight"] == scales["body.3.weight"] == 0.1
    assert scales["head.weight"] == 1
    names = [group["name"] for group in parameter_groups(network(), point)]
    assert names == ["body.0.*", "body.*", "*"]


def test_frozen_parameters_need_no_gradient_and_are_in_no_group():
    """Whatever else matches them."""
    model = network()
    scales = scales_of(model, Hyperparameters(0.1, lr_scales={"body.*": 0.1}, frozen=("body.0.*",)))
    assert not any(name.startswith("body.0") for name in scales)
    required = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert {name for name, needed in required.items() if not needed} == {"body.0.weight", "body.0.bias"}


def test_parameters_that_the_model_froze_itself_stay_so():
    """They are in no group either."""
    model = network()
    model.head.bias.requires_grad_(False)
    assert "head.bias" not in scales_of(model, Hyperparameters(0.1))


def test_a_layer_begins_at_every_matrix_and_norms_belong_to_the_layer_before():
    """The last layer has none above it."""
    above = layers_above(network())
    assert {name: above[f"{name}.weight"] for name in ("body.0", "body.1", "body.3", "head")} == {
        "body.0": 2,
        "body.1": 2,
        "body.3": 1,
        "head": 0,
    }


def test_a_norm_before_all_matrices_belongs_to_the_first_layer():
    """Where there is no layer before it; a model of norms alone is one layer."""
    assert layers_above(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2), nn.Linear(2, 1)))["0.weight"] == 1
    assert set(layers_above(nn.LayerNorm(3)).values()) == {0}


def test_one_module_with_several_matrices_is_one_layer():
    """A recurrent layer, as PyTorch writes it."""
    model = nn.Sequential(nn.GRU(2, 3, num_layers=2), nn.Linear(3, 1))
    above = layers_above(model)
    assert {above[name] for name in above if name.startswith("0.")} == {1}


@settings(max_examples=25)
@given(decay=st.floats(0.05, 1.0), scale=st.floats(0.0, 2.0))
def test_the_layer_decay_multiplies_once_for_each_layer_above(decay, scale):
    """Beside the pattern's own factor."""
    scales = scales_of(network(), Hyperparameters(0.1, lr_scales={"body.0.*": scale}, layer_decay=decay))
    assert scales["head.bias"] == 1
    assert scales["body.3.bias"] == pytest.approx(decay)
    assert scales["body.1.bias"] == pytest.approx(decay**2)
    assert scales["body.0.bias"] == pytest.approx(scale * decay**2)


def test_shared_parameters_are_in_one_group_once():
    """Under the name that named_parameters gives them."""
    model = Tied()
    groups = parameter_groups(model, Hyperparameters(0.1, lr_scales={"output.*": 0.5}))
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted({id(parameter) for parameter in model.parameters()})
    assert scales_of(model, Hyperparameters(0.1, lr_scales={"output.*": 0.5}))["embedding.weight"] == 1


@pytest.mark.parametrize("where", ["frozen", "lr_scales"])
def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_names(where):
    """Before any trial, by check_groups, which leaves the model as it is."""
    given = {"frozen": ("body.3.wieght",)} if where == "frozen" else {"lr_scales": {"body.3.wieght": 0.1}}
    with pytest.raises(SpecError, match=r"matches 'body\.3\.wieght'\. Did you mean 'body\.3\.weight'"):
        check_groups(network(), Hyperparameters(0.1, **given))


def test_a_large_model_is_not_listed_whole():
    """Twenty names that are most like the pattern."""
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(60)))
    with pytest.raises(SpecError, match=r"Did you mean '47\.weight'.*nearest of 120") as caught:
        check_groups(model, Hyperparameters(0.1, frozen=("47.wight",)))
    assert str(caught.value).count("weight") < 30


def test_a_pattern_that_is_never_reached_is_refused():
    """Its factor would be searched for nothing."""
    with pytest.raises(SpecError, match=r"write 'body\.0\.\*' above"):
        check_groups(network(), Hyperparameters(0.1, lr_scales={"body.*": 0.1, "body.0.*": 0.01}))


def test_freezing_everything_is_refused():
    """Nothing would be left to train."""
    with pytest.raises(SpecError, match=r"needs a parameter to train, but '\*' freeze all"):
        check_groups(network(), Hyperparameters(0.1, frozen=("*",)))
    with pytest.raises(SpecError, match="it has none that need one"):
        check_groups(nn.Tanh(), Hyperparameters(0.1))


def test_checking_changes_nothing():
    """Frozen patterns do not freeze yet."""
    model = network()
    check_groups(model, Hyperparameters(0.1, frozen=("body.*",), lr_scales={"head.*": 2.0}))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_each_group_gets_its_part_of_the_learning_rate():
    """When the optimizer is built, and whenever the learning rate is set."""
    groups = parameter_groups(network(), Hyperparameters(0.1, lr_scales={"body.*": 0.25}))
    optimizer = build_optimizer("SGD", groups, 0.4, {"momentum": 0.9})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.4]
    assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.9]
    set_lr(optimizer, 0.8)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.8]


SCHEDULERS = {
    "StepLR": ({"step_fraction": 0.3, "gamma": 0.5}, {"step_size": 2, "gamma": 0.5}, "epoch"),
    "LinearLR": (
        {"end_factor": 0.1},
        {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 48},
        "step",
    ),
    "OneCycleLR": (
        {},
        {"max_lr": [0.001, 0.03, 0.1], "total_steps": 48, "cycle_momentum": False},
        "step",
    ),
    "ReduceLROnPlateau": ({"factor": 0.3, "patience": 0}, {"factor": 0.3, "patience": 0}, "epoch"),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_lane_trains_as_pytorchs_parameter_groups_and_scheduler_do(kind):
    """Losses equal those of a plain loop with groups written by hand, frozen ones left out."""
    knobs, arguments, clock = SCHEDULERS[kind]
    scales = {"body.1.*": 0.01, "body.3.*": 0.3}
    point = Hyperparameters(0.1, kind, knobs, 0.0, {"momentum": 0.9}, lr_scales=scales, frozen=("body.0.*",))
    task = regression()
    data = load_data(task, 8, CPU)
    model = build_model(task, 0, CPU)
    model.body[0].requires_grad_(False)
    groups = [
        {"params": model.body[1].parameters(), "lr": 0.001},
        {"params": model.body[3].parameters(), "lr": 0.03},
        {"params": model.head.parameters()},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, kind)(optimizer, **arguments)
    expected = []
    for epoch in range(EPOCHS):
        model.train()
        losses = []
        for [(inputs, targets)] in data.updates(0, epoch):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if clock == "step" and len(losses) + epoch * data.steps_per_epoch < 48:
                scheduler.step()
        valid_loss = validate(task, model, data, 0)[0]
        if clock == "epoch":
            scheduler.step(*([valid_loss] if kind == "ReduceLROnPlateau" else []))
        expected.append((np.mean(losses), valid_loss))
    [found] = curves([point])
    np.testing.assert_allclose([valid for _train, valid, _lr in found], [v for _t, v in expected], rtol=1e-9)
    np.testing.assert_allclose([train for train, _valid, _lr in found], [t for t, _v in expected], rtol=1e-6)
    assert len({lr for _train, _valid, lr in found}) > 1  # a schedule that does nothing would show nothing


def test_a_frozen_layer_does_not_move():
    """Its weights after training are those before."""
    task = regression()
    array = EagerArray(task, load_data(task, 8, CPU), epochs=1, optimizer="AdamW", seed=0)
    array.start(0, Hyperparameters(0.1, frozen=("body.0.*",)))
    array.run_epoch()
    trained, fresh = array._lanes[0].model, build_model(task, 0, CPU)
    assert torch.equal(trained.body[0].weight, fresh.body[0].weight)
    assert not torch.equal(trained.head.weight, fresh.head.weight)


def test_a_scale_of_one_changes_nothing_and_others_do():
    """Groups of the same rate train, to the bit, as one group."""
    plain, ones, slower = curves(
        [
            Hyperparameters(0.1),
            Hyperparameters(0.1, lr_scales={"body.*": 1.0}),
            Hyperparameters(0.1, lr_scales={"body.*": 0.1}),
        ]
    )
    assert plain == ones
    assert plain != slower


def test_lanes_with_groups_of_their_own_are_independent():
    """Each trial is the same alone, beside others, and in any order."""
    points = [
        Hyperparameters(0.1, lr_scales={"body.*": 0.1}),
        Hyperparameters(0.1, "LinearLR", layer_decay=0.5),
        Hyperparameters(0.05, frozen=("body.0.*",)),
        Hyperparameters(0.1),
    ]
    together, backwards = curves(points), curves(points[::-1])
    for number, point in enumerate(points):
        [alone] = curves([point])
        assert alone == together[number] == backwards[len(points) - 1 - number]


def test_layer_decay_equals_the_scales_that_it_means():
    """One number in the place of a factor for every layer."""
    decayed, scaled = curves(
        [
            Hyperparameters(0.1, layer_decay=0.5),
            Hyperparameters(0.1, lr_scales={"body.[01].*": 0.25, "body.3.*": 0.5}),
        ]
    )
    np.testing.assert_allclose(decayed, scaled, rtol=1e-12)
    assert math.isfinite(decayed[-1][1])


def test_groups_survive_a_copy_of_the_optimizers_state():
    """The scale is part of the state that is saved and loaded."""
    point = Hyperparameters(0.1, lr_scales={"body.*": 0.25})
    first = build_optimizer("SGD", parameter_groups(network(), point), 0.4, {})
    second = build_optimizer("SGD", parameter_groups(network(), point), 1.0, {})
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    set_lr(second, 0.8)
    assert [group["lr"] for group in second.param_groups] == [0.2, 0.8]
