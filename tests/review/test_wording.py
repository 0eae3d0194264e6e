"""Hyperparameters in words, and as lines of PyTorch that do what they say."""

import ast
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.parameters import Choice, Range
from lrsearch.review.wording import described, number, pytorch_lines
from lrsearch.schedules import KINDS, Hyperparameters, Schedule, kind_named
from lrsearch.spec import OPTIMIZERS
from lrsearch.training.optimizers import build_optimizer

EPOCHS, STEPS_PER_EPOCH = 9, 7


def model():
    """Return the smallest model."""
    return torch.nn.Linear(1, 1)


def built(lines):
    """Run the lines as a user would paste them, and return the names that they define."""
    scope = {"torch": torch, "model": model()}
    exec("\n".join(lines), scope)
    return scope


def comments(lines):
    """Return which scheduler is stepped by what, and when, as the comments say."""
    found = []
    for line in lines:
        if line.startswith("# ") and ".step(" in line:
            call, clock = line.removeprefix("# ").split(" after every ")
            name, _, argument = call.removesuffix(")").partition(".step(")
            found.append((name, argument, clock))
    return found


def logged_lrs(lines, losses):
    """Train as the comments say, and return the learning rate of every update."""
    scope = built(lines)
    optimizer, schedulers = scope["optimizer"], comments(lines)
    lrs = []
    for loss in losses:
        for _step in range(STEPS_PER_EPOCH):
            lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            step_all(scope, schedulers, "update", loss)
        step_all(scope, schedulers, "epoch", loss)
    return np.array(lrs)


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
@settings(max_examples=30, deadline=None)
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
    return st.floats(limits.low, min(limits.high, 1.0))


@st.composite
def optimizers(draw):
    """Draw an optimizer with all its knobs, each usual or not."""
    kind = OPTIMIZERS[draw(st.sampled_from(sorted(OPTIMIZERS)))]
    knobs = {
        name: draw(st.just(knob.usual) | st.just(0.0 * knob.usual) | limited(knob.limits))
        for name, knob in kind.knobs.items()
        if name != "nesterov"
    }
    if kind.name == "SGD":
        knobs["nesterov"] = knobs["momentum"] > 0 and knobs["dampening"] == 0 and draw(st.booleans())
    return kind.name, knobs


@settings(max_examples=150, deadline=None)
@given(optimizers())
def test_the_printed_optimizer_is_the_one_that_was_trained(drawn):
    """All its numbers, also where PyTorch's default is not zero."""
    name, knobs = drawn
    point = Hyperparameters(0.01, "constant", optimizer=knobs)
    printed = built(pytorch_lines(name, point, 1, 1))["optimizer"]
    trained = build_optimizer(name, model().parameters(), 0.01, knobs)
    assert type(printed) is type(trained)
    assert printed.defaults == trained.defaults


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
    ],
)
def test_a_description_says_what_is_not_usual(point, words):
    """Rarely changed knobs appear when they are changed."""
    assert described(point) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.123456, "0.1235"), (float("inf"), "inf"), (1e-5, "1e-05"), (12.0, "12")],
)
def test_numbers_have_four_digits(value, text):
    """Short enough for tables."""
    assert number(value) == text
