"""Hyperparameters in words, and as lines of PyTorch that do what they say."""

import ast
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.parameters import Choice, Range
from lrsearch.review.wording import described, number, pytorch_lines
from lrsearch.schedules import KINDS, Hyperparameters, Schedule, kind_named
from lrsearch.spec import OPTIMIZERS
from lrsearch.training.groups import parameter_groups
from lrsearch.training.optimizers import build_optimizer

EPOCHS, STEPS_PER_EPOCH = 9, 7


def model():
    """Return the smallest model."""
    return torch.nn.Linear(1, 1)


def built(lines, network=None):
    """Run the lines as a user would paste them, and return the names that they define."""
    scope = {"torch": torch, "model": network or model()}
    exec("\n".join(lines), scope)
    return scope


def comments(lines):
    """Return which scheduler is stepped by what, and when, as the comments say."""
    found = []
    for line in lines:
        if line.startswith("# ") and " after every " in line:
            call, clock = line.removeprefix("# ").split(" after every ")
            name, _, argument = call.removesuffix(")").partition(".step(")
            found.append((name, argument, clock))
    return found


def logged_lrs(lines, losses, network=None, groups=1):
    """Train as the comments say, and return the learning rate of every update, for each of several groups."""
    scope = built(lines, network)
    optimizer, schedulers = scope["optimizer"], comments(lines)
    lrs = []
    for loss in losses:
        for _step in range(STEPS_PER_EPOCH):
            lrs.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            step_all(scope, schedulers, "update", loss)
        step_all(scope, schedulers, "epoch", loss)
    return np.array(lrs).reshape(-1, groups) if groups > 1 else np.concatenate(lrs)


def step_all(scope, schedulers, clock, loss):
    """Step the schedulers of a clock."""
    for name, argument, own_clock in schedulers:
        if own_clock == clock:
            scope[name].step(*([loss] if argument == "valid_loss" else []))


def own_lrs(schedule, losses):
    """Return the learning rates of a run with these losses, as the search trains it."""
    state, lrs = schedule.start(), []
    for epoch, loss in enumerate(losses):
        lrs.append(schedule.epoch_lrs(epoch, state))
        state = schedule.update(state, loss)
    return np.concatenate(lrs)


@st.composite
def hyperparameters(draw, name):
    """Draw a point of a kind from its default ranges, with or without warm-up."""
    kind = kind_named(name)
    knobs = {}
    for knob in kind.knobs:
        if knob.exists_beside(knobs):
            domain = knob.default_for(EPOCHS)
            searched = isinstance(domain, Range | Choice)
            knobs[knob.name] = domain.at(draw(st.floats(0, 1))) if searched else domain
    warmup = draw(st.just(0.0) | st.floats(0.03, 0.5)) if kind.takes_warmup else 0.0
    return Hyperparameters(draw(st.floats(1e-3, 5.0)), name, knobs, warmup)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_the_printed_lines_train_with_the_schedules_learning_rates(name, data):
    """Pasted and stepped as the comments say, they give the searched trajectory, warm-up included."""
    point = data.draw(hyperparameters(name))
    losses = data.draw(st.lists(st.floats(0.1, 3.0), min_size=EPOCHS, max_size=EPOCHS))
    lines = pytorch_lines("SGD", point, EPOCHS, STEPS_PER_EPOCH)
    with warnings.catch_warnings():
        # PyTorch's own SequentialLR steps its parts in a way that PyTorch deprecates
        warnings.filterwarnings("ignore", message="The epoch parameter in `scheduler.step")
        lrs = logged_lrs(lines, losses)
    expected = own_lrs(Schedule(point, EPOCHS, STEPS_PER_EPOCH), losses)
    np.testing.assert_allclose(lrs, expected, rtol=1e-6, atol=1e-12)


def limited(limits):
    """Draw a value within an optimizer knob's limits."""
    if isinstance(limits, Choice):
        return st.sampled_from(limits.options)
    if limits.integer:
        return st.integers(int(limits.low), int(min(limits.high, 50)))
    return st.floats(limits.low, min(limits.high, limits.low + 1.0))


@st.composite
def optimizers(draw, names=tuple(OPTIMIZERS)):
    """Draw an optimizer with all its knobs, each usual or not."""
    kind = OPTIMIZERS[draw(st.sampled_from(names))]
    knobs = {name: draw(st.just(knob.usual) | limited(knob.limits)) for name, knob in kind.knobs.items()}
    if kind.name == "SGD":
        knobs["nesterov"] = knobs["momentum"] > 0 and knobs["dampening"] == 0 and draw(st.booleans())
    return kind.name, knobs


@settings(max_examples=300)
@given(optimizers())
def test_the_printed_optimizer_is_the_one_that_was_trained(drawn):
    """All its numbers, also where PyTorch's default is not zero."""
    name, knobs = drawn
    point = Hyperparameters(0.01, "constant", optimizer=knobs)
    matrix = torch.nn.Linear(2, 2, bias=False)
    printed = built(pytorch_lines(name, point, 1, 1), matrix)["optimizer"]
    trained = build_optimizer(name, matrix.parameters(), 0.01, knobs)
    assert type(printed) is type(trained)
    assert printed.defaults == trained.defaults


def test_lbfgs_says_that_its_step_takes_a_closure():
    """In one comment, without which the lines would not train."""
    lines = pytorch_lines("LBFGS", Hyperparameters(1.0, optimizer={"line_search_fn": "strong_wolfe"}), 2, 3)
    assert (
        lines[0] == "optimizer = torch.optim.LBFGS(model.parameters(), lr=1.0, line_search_fn='strong_wolfe')"
    )
    assert lines[1].startswith("# optimizer.step(closure), where closure()")
    assert len(lines) == 2


def test_a_schedule_free_optimizer_is_printed_with_its_import_and_its_modes():
    """The lines run as they stand, and say when to change the mode."""
    lines = pytorch_lines("SGDScheduleFree", Hyperparameters(2.0, "constant", {}, 0.5), 2, 4)
    assert lines[0] == "import schedulefree"
    assert lines[1] == "optimizer = schedulefree.SGDScheduleFree(model.parameters(), lr=2.0)"
    assert any(line.startswith("# optimizer.train() before the updates of an epoch") for line in lines)
    assert built(lines)["optimizer"].param_groups[0]["lr"] == pytest.approx(0.5)


def layered():
    """Return four layers, one of them with a norm."""
    norm = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    return torch.nn.Sequential(torch.nn.Linear(1, 2), norm, torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))


SCALES = st.dictionaries(st.sampled_from(["0.*", "1.*", "2.weight", "*.bias"]), st.floats(0.01, 2.0))


def lrs_of(optimizer, parameters):
    """Return the learning rate of every parameter, None for one that is in no group."""
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return [found.get(id(parameter)) for parameter in parameters]


@settings(max_examples=100)
@given(
    scales=SCALES,
    decay=st.just(1.0) | st.floats(0.3, 1.0),
    frozen=st.sampled_from([(), ("0.*",), ("*.bias", "3.weight")]),
)
def test_the_printed_groups_are_those_that_were_trained(scales, decay, frozen):
    """Every parameter's learning rate, and which ones are frozen."""
    point = Hyperparameters(
        0.1, optimizer={"momentum": 0.9}, lr_scales=scales, layer_decay=decay, frozen=frozen
    )
    ours, theirs = layered(), layered()
    trained = build_optimizer("SGD", parameter_groups(ours, point), 0.1, point.optimizer)
    printed = built(pytorch_lines("SGD", point, 2, 3), theirs)["optimizer"]
    assert lrs_of(printed, theirs.parameters()) == lrs_of(trained, ours.parameters())
    needed = [[parameter.requires_grad for parameter in model.parameters()] for model in (ours, theirs)]
    assert needed[0] == needed[1]
    assert printed.defaults == trained.defaults


def test_frozen_layers_alone_need_no_groups():
    """Four lines, and the optimizer is given what is left."""
    lines = pytorch_lines("LBFGS", Hyperparameters(1.0, frozen=("0.*",)), 2, 3)
    assert (
        lines[-2]
        == "optimizer = torch.optim.LBFGS([p for p in model.parameters() if p.requires_grad], lr=1.0)"
    )
    assert len(lines) == 6


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_the_printed_schedulers_keep_groups_in_proportion(name, data):
    """Each group's learning rates are the searched trajectory times its scale, in every kind."""
    point = data.draw(hyperparameters(name))
    if name == "ReduceLROnPlateau" and not point.warmup_fraction:
        point = replace(point, knobs={**point.knobs, "min_factor": 0.1})
    point = replace(point, lr_scales={"0.*": 0.02, "1.*": 0.5})
    losses = data.draw(st.lists(st.floats(0.1, 3.0), min_size=EPOCHS, max_size=EPOCHS))
    lines = pytorch_lines("SGD", point, EPOCHS, STEPS_PER_EPOCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The epoch parameter in `scheduler.step")
        logged = logged_lrs(lines, losses, layered(), groups=3)
    expected = own_lrs(Schedule(point, EPOCHS, STEPS_PER_EPOCH), losses)
    # PyTorch makes no cut below 1e-8, which a slow group reaches before the others
    smallest = 3e-8 if name == "ReduceLROnPlateau" else 1e-12
    np.testing.assert_allclose(logged, np.outer(expected, [0.02, 0.5, 1.0]), rtol=1e-6, atol=smallest)


def test_the_lines_are_short_where_the_defaults_do():
    """What PyTorch assumes anyway is left out."""
    usual = {name: knob.usual for name, knob in OPTIMIZERS["SGD"].knobs.items()}
    [line] = pytorch_lines("SGD", Hyperparameters(0.1, "constant", optimizer=usual), 5, 5)
    assert line == "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)"
    [line] = pytorch_lines(
        "SGD", Hyperparameters(0.1, "constant", optimizer={**usual, "momentum": 0.9}), 5, 5
    )
    assert line == "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)"


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_described_in_one_line_and_printed_as_python(name):
    """Name, knobs, and nothing that is not Python or a comment."""
    point = Hyperparameters(0.123456, name)
    words = described(point)
    assert words.startswith("lr 0.1235, " + name)
    assert "\n" not in words
    ast.parse("\n".join(pytorch_lines("Adam", point, EPOCHS, STEPS_PER_EPOCH)))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (Hyperparameters(0.1), "lr 0.1, constant"),
        (
            Hyperparameters(0.1, "StepLR", {"step_fraction": 0.3, "gamma": 0.1}, 0.05),
            "lr 0.1, StepLR(step_fraction 0.3, gamma 0.1), warm-up 5.0%",
        ),
        (
            Hyperparameters(0.1, "ReduceLROnPlateau", {"factor": 0.1, "patience": 5}),
            "lr 0.1, ReduceLROnPlateau(factor 0.1, patience 5)",
        ),
        (
            Hyperparameters(1e-3, optimizer={"momentum": 0.9, "nesterov": True, "weight_decay": 0.0}),
            "lr 0.001, constant, momentum 0.9, nesterov True",
        ),
        (
            Hyperparameters(
                1e-3, optimizer={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}
            ),
            "lr 0.001, constant, weight_decay 0.01",
        ),
        (
            Hyperparameters(0.1, lr_scales={"body.*": 0.25}, layer_decay=0.8, frozen=("stem.*",)),
            "lr 0.1, constant, lr_scale[body.*] 0.25, layer_decay 0.8, stem.* frozen",
        ),
    ],
)
def test_a_description_says_what_is_not_usual(point, words):
    """Rarely changed knobs appear when they are changed."""
    assert described(point) == words


def test_the_defaults_of_a_named_optimizer_go_unsaid():
    """Where it is known whose they are."""
    for name, kind in OPTIMIZERS.items():
        usual = {knob: kind.knobs[knob].usual for knob in kind.knobs}
        assert described(Hyperparameters(0.1, optimizer=usual), name) == "lr 0.1, constant"
    assert described(Hyperparameters(0.1, optimizer={"weight_decay": 0.0}), "AdamW").endswith(
        "weight_decay 0"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.123456, "0.1235"), (float("inf"), "inf"), (1e-5, "1e-05"), (12.0, "12")],
)
def test_numbers_have_four_digits(value, text):
    """Short enough for tables."""
    assert number(value) == text


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.expression is not None])
def test_the_step_after_the_last_update_has_a_rate_that_is_no_less_than_zero(name):
    """``scheduler.step()`` asks for it, and a training that goes on uses it."""
    for fraction in np.linspace(0.05, 0.5, 50).tolist():
        knobs = {"decay_fraction": fraction} if name == "WSD" else {}
        point = Hyperparameters(0.1, name, knobs)
        scope = built(pytorch_lines("SGD", point, EPOCHS, STEPS_PER_EPOCH))
        for _step in range(EPOCHS * STEPS_PER_EPOCH + 3):
            scope["optimizer"].step()
            scope["scheduler"].step()
            assert scope["optimizer"].param_groups[0]["lr"] >= 0
