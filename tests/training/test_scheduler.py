"""``ScheduleLR`` drives any optimizer as the schedule says, and goes on from its state exactly."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lrsearch.errors import SpecError
from lrsearch.parameters import Choice, Range
from lrsearch.schedules import KINDS, Hyperparameters, Schedule, kind_named, kinds, register
from lrsearch.schedules.own import schedule as declare
from lrsearch.training.scheduler import ScheduleLR

OWN = "own.py:shrink"


@declare(feedback=True, factor=Range(0.1, 0.9))
def shrink(progress, losses, factor):
    """Fall with time, and with every epoch that was not better than the one before."""
    worse = sum(late >= early for early, late in pairwise(losses))
    return (1 - progress / 2) * factor**worse


@pytest.fixture(autouse=True)
def own_kind(monkeypatch):
    """Register a user's own schedule with feedback, and forget it after the test."""
    monkeypatch.setattr(kinds, "_registered", {})
    register(OWN, shrink)


@st.composite
def schedules(draw, name):
    """Draw a schedule of a kind from its default ranges over a small run, with or without warm-up."""
    kind, epochs, steps = kind_named(name), draw(st.integers(1, 8)), draw(st.integers(1, 6))
    knobs = {}
    for knob in kind.knobs:
        if knob.exists_beside(knobs):
            domain = knob.default_for(epochs)
            searched = isinstance(domain, Range | Choice)
            knobs[knob.name] = domain.at(draw(st.floats(0, 1))) if searched else domain
    warmup = draw(st.just(0.0) | st.floats(0.1, 0.6)) if kind.takes_warmup else 0.0
    return Schedule(Hyperparameters(draw(st.floats(1e-3, 5.0)), name, knobs, warmup), epochs, steps)


some_losses = st.lists(st.floats(0.1, 3.0), min_size=8, max_size=8)
with_own = pytest.mark.parametrize("name", [*KINDS, OWN])
relaxed = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def optimizer_of(schedule, *scales, make=torch.optim.SGD):
    """Return an optimizer with a group for each scale, whose learning rates are these parts of the peak."""
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(2))], "lr": schedule.hyperparameters.lr * scale}
        for scale in scales or (1.0,)
    ]
    return make(groups)


def train(optimizer, scheduler, losses, epochs, steps_per_epoch):
    """Train in PyTorch's order and return every group's learning rate at every update."""
    lrs = []
    for epoch in range(epochs):
        for _step in range(steps_per_epoch):
            lrs.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()
        scheduler.report(losses[epoch])
    return np.array(lrs)


def own_lrs(schedule, losses):
    """Return the learning rates of a run with these losses, as the search trains it."""
    state, lrs = schedule.start(), []
    for epoch in range(schedule.epochs):
        lrs.append(schedule.epoch_lrs(epoch, state))
        state = schedule.update(state, losses[epoch])
    return np.concatenate(lrs)


@with_own
@relaxed
@given(data=st.data(), losses=some_losses)
def test_an_optimizer_gets_the_schedules_learning_rates(name, data, losses):
    """Of every kind, bit for bit, at every update."""
    schedule = data.draw(schedules(name))
    optimizer = optimizer_of(schedule)
    found = train(
        optimizer, ScheduleLR(optimizer, schedule), losses, schedule.epochs, schedule.steps_per_epoch
    )
    assert found[:, 0].tolist() == own_lrs(schedule, losses).tolist()


def pytorchs_own(schedule, optimizer):
    """Return PyTorch's scheduler for a schedule without warm-up."""
    pytorch, package = schedule.pytorch(), torch.optim.lr_scheduler
    if pytorch.factor is not None:
        return package.LambdaLR(optimizer, eval(f"lambda t: {pytorch.factor}", {"math": __import__("math")}))
    if pytorch.name is None:
        return package.ConstantLR(optimizer, factor=1.0)
    return getattr(package, pytorch.name)(optimizer, **pytorch.arguments)


@pytest.mark.parametrize("name", KINDS)
@relaxed
@given(data=st.data(), losses=some_losses)
def test_it_is_pytorchs_own_scheduler_where_there_is_one(name, data, losses):
    """Class for class, in PyTorch's own loop, each stepped by its clock."""
    drawn = data.draw(schedules(name))
    point = Hyperparameters(drawn.hyperparameters.lr, name, drawn.hyperparameters.knobs)
    schedule = Schedule(point, drawn.epochs, drawn.steps_per_epoch)
    # PyTorch divides by zero when OneCycleLR peaks at its very first step
    assume(name != "OneCycleLR" or point.knobs["pct_start"] * schedule.total_steps != 1)
    optimizer, other = optimizer_of(schedule), optimizer_of(schedule)
    mine = train(
        optimizer, ScheduleLR(optimizer, schedule), losses, schedule.epochs, schedule.steps_per_epoch
    )
    twin, clock, expected = pytorchs_own(schedule, other), schedule.pytorch().clock, []
    for step in range(schedule.total_steps):
        expected.append(other.param_groups[0]["lr"])
        other.step()
        ended, past = divmod(step + 1, schedule.steps_per_epoch)
        if step + 1 < schedule.total_steps and (clock == "step" or not past):
            twin.step(*([losses[ended - 1]] if name == "ReduceLROnPlateau" else []))
    np.testing.assert_allclose(mine[:, 0], expected, rtol=1e-6, atol=1e-12)


@with_own
@relaxed
@given(data=st.data(), losses=some_losses)
def test_groups_keep_their_proportion(name, data, losses):
    """Every group's learning rate is its part of the schedule's, however small."""
    schedule = data.draw(schedules(name))
    optimizer = optimizer_of(schedule, 1.0, 0.1, 0.0, 2.0)
    found = train(
        optimizer, ScheduleLR(optimizer, schedule), losses, schedule.epochs, schedule.steps_per_epoch
    )
    expected = own_lrs(schedule, losses)[:, None] * np.array([1.0, 0.1, 0.0, 2.0])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@with_own
@relaxed
@given(data=st.data(), losses=some_losses)
def test_a_run_goes_on_from_its_state_as_if_it_had_never_stopped(name, data, losses):
    """Saved as JSON after any update, before or after the report; the optimizer's own state apart."""
    schedule = data.draw(schedules(name))
    stop, before_report = data.draw(st.integers(0, schedule.total_steps)), data.draw(st.booleans())
    optimizer = optimizer_of(schedule, 1.0, 0.1)
    scheduler, lrs = ScheduleLR(optimizer, schedule), []

    def resume():
        saved = json.loads(json.dumps(scheduler.state_dict()))
        anew = optimizer_of(schedule, 1.0, 0.1)
        resumed = ScheduleLR(anew, schedule)
        resumed.load_state_dict(saved)
        assert resumed.get_last_lr() == scheduler.get_last_lr()
        assert resumed.state_dict() == scheduler.state_dict()
        return anew, resumed

    for step in range(schedule.total_steps):
        if step == stop and not before_report:
            optimizer, scheduler = resume()
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        if step == stop and before_report:
            optimizer, scheduler = resume()
        if (step + 1) % schedule.steps_per_epoch == 0:
            scheduler.report(losses[step // schedule.steps_per_epoch])
    assert lrs == own_lrs(schedule, losses).tolist()


@with_own
def test_beyond_the_end_of_the_run_the_last_value_stays(name):
    """As with PyTorch's schedulers, a loop that runs longer goes on with the last learning rate."""
    schedule = Schedule(Hyperparameters(0.5, name), 3, 4)
    optimizer = optimizer_of(schedule)
    found = train(optimizer, ScheduleLR(optimizer, schedule), [1.0] * 6, 6, 4)[:, 0]
    assert found[:12].tolist() == own_lrs(schedule, [1.0] * 3).tolist()
    assert set(found[12:]) == {found[11]}


@pytest.mark.parametrize("name", ["ReduceLROnPlateau", OWN])
def test_a_forgotten_report_is_an_error_at_the_next_epochs_first_step(name):
    """Until then the learning rate is the last known one; the error says what to call."""
    schedule = Schedule(Hyperparameters(0.5, name), 3, 2)
    optimizer = optimizer_of(schedule)
    scheduler = ScheduleLR(optimizer, schedule)
    for _step in range(2):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr() == [0.5]
    optimizer.step()
    with pytest.raises(
        SpecError, match=r"call report\(valid_loss\) after every epoch of 2 updates, but epoch 1"
    ):
        scheduler.step()
    scheduler.report(1.0)
    scheduler.step()
    assert scheduler.last_epoch == 3


def test_a_report_before_the_epochs_end_is_an_error():
    """One loss an epoch; for schedules without feedback a report changes nothing."""
    schedule = Schedule(Hyperparameters(0.5, OWN), 3, 2)
    scheduler = ScheduleLR(optimizer_of(schedule), schedule)
    with pytest.raises(SpecError, match=r"belongs after an epoch of 2 updates"):
        scheduler.report(1.0)
    schedule = Schedule(Hyperparameters(0.5, "LinearLR"), 3, 2)
    scheduler = ScheduleLR(optimizer_of(schedule), schedule)
    before = scheduler.state_dict()
    scheduler.report(1.0)
    assert scheduler.state_dict() == before


def test_the_state_of_another_schedule_is_refused():
    """A checkpoint of another run would train with wrong learning rates."""
    schedule, other = (Schedule(Hyperparameters(lr, "LinearLR"), 3, 2) for lr in (0.5, 0.4))
    state = ScheduleLR(optimizer_of(schedule), schedule).state_dict()
    with pytest.raises(SpecError, match=r"state belongs to another schedule: saved .*0\.5.* here .*0\.4"):
        ScheduleLR(optimizer_of(other), other).load_state_dict(state)
    with pytest.raises(SpecError, match="another number of parameter groups: saved 1, but here 2"):
        ScheduleLR(optimizer_of(schedule, 1.0, 0.1), schedule).load_state_dict(state)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_any_optimizer_can_be_driven_also_one_whose_learning_rate_is_a_tensor(make):
    """A capturable optimizer's tensor is filled, not replaced."""
    schedule = Schedule(Hyperparameters(0.5, "CosineAnnealingLR"), 2, 3)
    optimizer = optimizer_of(schedule, make=make)
    found = train(optimizer, ScheduleLR(optimizer, schedule), [1.0] * 2, 2, 3)[:, 0]
    assert found.tolist() == own_lrs(schedule, [1.0] * 2).tolist()
    lr = torch.tensor(0.5, dtype=torch.float64)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=lr)
    scheduler = ScheduleLR(optimizer, schedule)
    optimizer.step()
    scheduler.step()
    state = scheduler.state_dict()
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == pytest.approx(own_lrs(schedule, [1.0] * 2)[1])
    lr.fill_(0.0)
    scheduler.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == pytest.approx(own_lrs(schedule, [1.0] * 2)[1])
