"""Schedules of the user's own: declared, registered, checked when used, and equal to built-in ones."""

import inspect
import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrsearch.errors import SpecError, StudyConflictError, UnknownNameError
from lrsearch.parameters import Choice, Range, ZeroOr
from lrsearch.schedules import (
    KINDS,
    Hyperparameters,
    Schedule,
    check_same_parameters,
    declare_unloaded,
    kind_named,
    register,
)
from lrsearch.schedules.own import schedule

REFERENCE = "dir.v1/my_schedules.py:f"
POWER = Range(0.3, 3.0, log=True)
relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@schedule(power=POWER)
def polynomial(progress, power):
    """Fall to 0, as PolynomialLR does."""
    return (1 - progress) ** power


@schedule(elementwise=True, power=POWER)
def polynomial_by_number(progress, power):
    """Fall to 0, written with ``math``."""
    return math.pow(1 - progress, power)


@schedule(feedback=True, factor=Range(0.1, 0.9), patience=Range(0, 4, integer=True))
def plateau(progress, losses, factor, patience):  # noqa: ARG001 # feedback brings progress along
    """Cut as ReduceLROnPlateau does, the whole history replayed."""
    lr, best, bad = 1.0, math.inf, 0
    for loss in losses:
        best, bad = (loss, 0) if loss < best * (1 - 1e-4) else (best, bad + 1)
        if bad > patience:
            lr, bad = lr * factor, 0
    return lr


def made(function, **changes):
    """Return the schedule of a registered function over a small run."""
    register(REFERENCE, function)
    arguments = {"lr": 0.5, "kind": REFERENCE, **changes}
    return Schedule(Hyperparameters(**arguments), 4, 5)


def lrs(one, losses):
    """Return all learning rates of a run that ended its epochs with these losses."""
    state, found = one.start(), []
    for epoch, loss in enumerate(losses[: one.epochs]):
        found.append(one.epoch_lrs(epoch, state))
        state = one.update(state, loss)
    return np.concatenate(found)


runs = st.tuples(st.integers(1, 12), st.integers(1, 9))
some_losses = st.lists(st.floats(0.01, 3.0), min_size=12, max_size=12)


@pytest.mark.parametrize("function", [polynomial, polynomial_by_number])
@relaxed
@given(st.floats(1e-3, 5.0), st.floats(0.3, 3.0), st.floats(0.0, 0.6), runs)
def test_a_function_of_progress_is_what_the_built_in_kind_of_its_formula_is(function, lr, power, warmup, run):
    """Over any run, with and without warm-up, as an array or number by number."""
    register(REFERENCE, function)
    own, built_in = (
        Schedule(Hyperparameters(lr, kind, {"power": power}, warmup), *run)
        for kind in (REFERENCE, "PolynomialLR")
    )
    np.testing.assert_allclose(lrs(own, [1.0] * 12), lrs(built_in, [1.0] * 12), rtol=1e-12)


@relaxed
# factors from 0.3: PyTorch's plateau leaves out cuts below 1e-8, which smaller ones reach
@given(st.floats(0.3, 0.9), st.integers(0, 4), st.floats(0.0, 0.6), runs, some_losses)
def test_a_function_of_losses_is_what_the_built_in_plateau_is(factor, patience, warmup, run, losses):
    """The plateau's rule written by a user cuts when and where the built-in one does, warm-up included."""
    register(REFERENCE, plateau)
    knobs = {"factor": factor, "patience": patience}
    own, built_in = (
        Schedule(Hyperparameters(0.5, kind, knobs, warmup), *run) for kind in (REFERENCE, "ReduceLROnPlateau")
    )
    np.testing.assert_allclose(lrs(own, losses), lrs(built_in, losses), rtol=1e-6)


@relaxed
@given(some_losses, st.integers(0, 11))
def test_the_state_is_a_fold_over_the_losses_alone(losses, epoch):
    """From the losses of the epochs so far a run goes on anywhere as if it had never been left."""
    register(REFERENCE, plateau)
    one, other = (Schedule(Hyperparameters(0.5, REFERENCE), 12, 3) for _time in range(2))
    state = other.start()
    for loss in losses[:epoch]:
        state = other.update(state, loss)
    assert state == tuple(losses[:epoch])
    assert other.epoch_lrs(epoch, state).tolist() == lrs(one, losses)[3 * epoch : 3 * epoch + 3].tolist()


def test_progress_is_the_fraction_of_the_run_after_the_warmup():
    """0 at the peak, and below 1 at the last update; with feedback it is the epoch's start."""
    seen = []

    @schedule()
    def listening(progress):
        seen.append(progress.tolist())
        return np.ones_like(progress)

    @schedule(feedback=True)
    def by_epoch(progress, losses):
        seen.append((progress, losses))
        return 1.0

    one = made(listening, warmup_fraction=0.25)
    seen.clear()
    lrs(one, [1.0] * 4)
    expected = [max(0, t - 4) / 16 for t in range(20)]
    np.testing.assert_allclose(np.concatenate(seen), expected, rtol=1e-12)
    one = made(by_epoch)
    seen.clear()
    lrs(one, [4.0, 3.0, 2.0, 1.0])
    assert seen == [(0.0, ()), (0.25, (4.0,)), (0.5, (4.0, 3.0)), (0.75, (4.0, 3.0, 2.0))]


def test_a_declared_function_stays_the_function_it_was():
    """It can be called, imported and pickled as before."""
    assert inspect.isfunction(polynomial)
    assert polynomial(np.array([0.5]), power=2.0).tolist() == [0.25]


def test_a_kind_has_the_declared_parameters_in_the_functions_order():
    """A range is searched, a plain value fixed; usual are the middle and the first choice."""

    @schedule(
        steps=Range(1, 5, integer=True), scale=POWER, mode=Choice(("up", "down")), eps=1e-8, cold=False, n=3
    )
    def many(progress, mode, scale, *, steps, eps, cold, n):  # noqa: ARG001 # declared, not used
        return np.ones_like(progress)

    kind = register(REFERENCE, many)
    assert [knob.name for knob in kind.knobs] == ["mode", "scale", "steps", "eps", "cold", "n"]
    usual = {"mode": "up", "scale": pytest.approx(math.sqrt(0.9)), "steps": 3, "eps": 1e-8}
    assert kind.complete({}) == {**usual, "cold": False, "n": 3}
    for knob in kind.knobs:
        assert knob.limits.contains(knob.usual)
    limits = {knob.name: knob.limits for knob in kind.knobs}
    assert not limits["steps"].contains(6)
    assert not limits["n"].contains(3.5)
    assert limits["eps"].contains(0.1)
    assert limits["cold"].contains(True)


def test_sixteen_kinds_are_built_in_whatever_is_registered():
    """The table of kinds, and so every list and default, knows nothing of users' code."""
    kind = register(REFERENCE, polynomial)
    assert kind_named(REFERENCE) is kind
    assert len(KINDS) == 16
    assert REFERENCE not in KINDS


def test_a_reference_that_was_not_loaded_is_refused_with_the_way_to_allow_it():
    """No name in a study file imports code by itself."""
    for use in (kind_named, lambda name: Hyperparameters(0.1, name)):
        with pytest.raises(SpecError, match=r"--allow-task dir\.v1/my_schedules\.py:f"):
            use(REFERENCE)
    register(REFERENCE, polynomial)
    with pytest.raises(UnknownNameError, match="Did you mean 'StepLR'"):
        kind_named("StepRL")


def declared(function, **arguments):
    """Declare a function."""
    return schedule(**arguments)(function)


def of(progress, power):
    """Take one parameter."""
    return (1 - progress) ** power


def with_losses(progress, losses):  # noqa: ARG001 # only declared
    """Take losses and no parameter."""
    return 1.0


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (of, {"powr": POWER}, "of has no parameter 'powr'. Did you mean 'power'"),
        (of, {}, "has a parameter 'power' that @schedule does not declare: add power=Range"),
        (lambda step, power: step * power, {"power": POWER}, "must begin with the parameters progress"),
        (of, {"feedback": True, "power": POWER}, "must begin with the parameters progress, losses"),
        (with_losses, {}, "with feedback=True it is the second one"),
        (lambda progress, *_rest: progress, {}, r"must have a name and a range, but got \*_rest"),
        (lambda progress, **_rest: progress, {}, r"must have a name and a range, but got \*\*_rest"),
        (of, {"power": [0.3, 3.0]}, r"as Range\(low, high\), Choice"),
        (of, {"power": math.nan}, "or a plain value, but got nan"),
        (of, {"power": ZeroOr(POWER)}, "or a plain value, but got ZeroOr"),
        (of, {"warmup": POWER, "power": POWER}, "warmup is a switch of @schedule"),
        (
            with_losses,
            {"feedback": True, "elementwise": True},
            "elementwise is for schedules without feedback",
        ),
    ],
)
def test_a_declaration_that_does_not_fit_its_function_is_refused(function, arguments, message):
    """At once, where the code is read, with the nearest name."""
    with pytest.raises(SpecError, match=message):
        declared(function, **arguments)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda _progress: 1.0, r"numbers in progress, an array of shape \(12,\).*but got 1.0"),
        (lambda progress: progress[:2], r"a factor for each of the 12 numbers.*but got array\(\[0"),
        (lambda progress: progress[:, None], "a factor for each of the 12"),
        (lambda _progress: None, "but got None"),
        (lambda progress: ["a"] * len(progress), "but got \\['a'"),
        (lambda progress: progress * 1j, "a factor for each"),
        (lambda progress: progress - 0.5, r"returned -0.5 at progress 0; .* finite number of at least 0"),
        (lambda progress: 1 / progress, r"returned inf at progress 0"),
        (lambda progress: np.where(progress > 0.6, np.nan, 1.0), r"returned nan at progress 0.66"),
        (lambda progress: np.array([math.sqrt(progress)]), "raised TypeError.*elementwise=True"),
        (lambda progress: progress if progress < 0.5 else 1, "raised ValueError.*elementwise=True"),
        (lambda progress: progress / progress.max(), "on its own progress and the parameters alone"),
        (
            lambda progress: progress + random.random(),
            "not on the rest of the array, earlier calls or chance",
        ),
    ],
)
def test_a_factor_that_breaks_a_rule_is_refused_before_the_first_trial(body, message):
    """With the value that came back, and where."""
    with pytest.raises(SpecError, match=message):
        register(REFERENCE, declared(lambda progress: body(progress)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda losses: 1 / losses[-1], "raised IndexError.*Before the first epoch there are no losses"),
        (
            lambda _losses: np.array([1.0, 1.0]),
            "must return one number, the factor on the learning rate, but",
        ),
        (lambda losses: -float(len(losses)), r"returned -1 at progress 0.25"),
        (lambda _losses: random.random(), "for the same losses"),
        (lambda losses: losses.append(1), "raised AttributeError"),
    ],
)
def test_a_factor_from_losses_that_breaks_a_rule_is_refused_before_the_first_trial(body, message):
    """The function is tried without losses, and with some."""
    with pytest.raises(SpecError, match=message):
        register(REFERENCE, declared(lambda progress, losses: body(losses), feedback=True))  # noqa: ARG005 # of losses alone


@pytest.mark.parametrize("function", [of, 3, None])
def test_what_was_not_declared_cannot_be_registered(function):
    """The error shows the decorator."""
    with pytest.raises(SpecError, match=r"is not declared as a schedule: write @lrsearch\.schedule"):
        register(REFERENCE, function)


@schedule(power=Range(0.0, 9.0))
def failing(progress, power):
    """Break a rule above a power of 8."""
    return np.ones_like(progress) if power <= 8 else progress - 1


def test_a_factor_that_breaks_a_rule_during_a_run_names_the_parameters():
    """And comparing trajectories leaves the error to the training."""
    one, other = made(failing, knobs={"power": 8.5}), made(failing, knobs={"power": 8.7})
    with pytest.raises(SpecError, match=r"my_schedules.py:f\(power=8.5\) returned -1 at progress 0"):
        one.epoch_lrs(0, None)
    assert one.trajectory() != other.trajectory()


def test_the_arrays_that_a_function_gets_are_its_own():
    """Changing them in place changes neither the run nor what an error says."""

    @schedule(low=Range(-1.0, 1.0))
    def careless(progress, low):
        progress *= 0.5
        progress += low
        return progress

    steps = np.arange(20.0)
    found = made(careless, knobs={"low": 0.0}).lrs(steps)
    assert steps.tolist() == list(range(20))
    np.testing.assert_allclose(found, 0.5 * 0.5 * steps / 20, rtol=1e-12)
    with pytest.raises(SpecError, match=r"returned -0\.25 at progress 0;"):
        made(careless, knobs={"low": -0.25}).lrs(steps)


def test_trajectories_are_compared_by_learning_rates_and_with_feedback_by_settings():
    """Equal runs are recognised, and different ones never taken for equal."""
    power = 1.7
    one = made(polynomial, knobs={"power": power})
    twin = Schedule(Hyperparameters(0.5, "PolynomialLR", {"power": power}), 4, 5)
    assert one.trajectory() == twin.trajectory()
    keys = {
        made(plateau, lr=lr, knobs={"factor": factor}, warmup_fraction=warmup).trajectory()
        for lr, factor, warmup in [
            (0.5, 0.2, 0),
            (0.5, 0.2, 0),
            (0.4, 0.2, 0),
            (0.5, 0.3, 0),
            (0.5, 0.2, 0.5),
        ]
    }
    assert len(keys) == 4


def test_the_state_of_another_epoch_is_refused():
    """Losses missing or too many would give another learning rate."""
    one = made(plateau)
    with pytest.raises(SpecError, match="needs the state after 2 epochs, but got the losses of 1"):
        one.epoch_lrs(2, (1.0,))
    with pytest.raises(SpecError, match="epoch by epoch"):
        one.lrs(np.arange(4.0))


def test_a_schedule_may_take_no_warmup():
    """One that rises by itself says so, and a warm-up is refused."""

    @schedule(warmup=False)
    def hump(progress):
        return np.sin(np.pi * progress)

    with pytest.raises(SpecError, match="takes no warm-up"):
        made(hump, warmup_fraction=0.1)


@schedule(feedback=True, warmup=False, factor=Range(0.1, 0.9), eps=1e-8)
def switched(progress, losses, factor, eps):  # noqa: ARG001 # declared, not used
    """Fall with every epoch."""
    return float(factor ** len(losses))


@pytest.mark.parametrize("function", [polynomial, polynomial_by_number, plateau, switched])
def test_a_stored_study_tells_of_a_schedule_what_is_needed_to_show_it(function, monkeypatch):
    """Names, values, warm-up and lines of PyTorch are there without the code; learning rates are not."""
    loaded = register(REFERENCE, function)
    point = Hyperparameters(0.5, REFERENCE)
    stored = {knob.name: knob.default for knob in loaded.knobs}
    lines = Schedule(point, 4, 5).pytorch()
    monkeypatch.setattr("lrsearch.schedules.kinds._registered", {})
    shown = declare_unloaded(REFERENCE, stored)
    assert not shown.loaded
    assert shown.takes_warmup == loaded.takes_warmup
    assert shown.needs_feedback == loaded.needs_feedback
    again = Hyperparameters.from_point(point.to_point())
    one = Schedule(again, 4, 5)
    assert again == point
    assert one.pytorch() == lines
    with pytest.raises(SpecError, match=r"cannot be computed.*--allow-task"):
        one.epoch_lrs(0, one.start())


def test_loaded_code_stays_loaded_and_replaces_what_was_only_described():
    """Showing a study takes nothing from one that trains in the same process."""
    declare_unloaded(REFERENCE, {"power": 1.0})
    assert declare_unloaded(REFERENCE, {"power": POWER}).knobs[0].default == POWER
    loaded = register(REFERENCE, polynomial)
    assert declare_unloaded(REFERENCE, {"power": POWER}) is loaded
    assert kind_named(REFERENCE) is loaded


@schedule(power=POWER, end=Range(0.0, 0.5), warmup=False)
def polynomial_to_an_end(progress, power, end):
    """Fall to an end, and take no warm-up."""
    return end + (1 - end) * (1 - progress) ** power


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (polynomial, polynomial_to_an_end, "has gained end, warmup since study 'old' began"),
        (polynomial_to_an_end, polynomial, "has lost end, warmup since study 'old' began"),
        (polynomial, plateau, "has gained factor, patience, feedback and has lost power since"),
    ],
)
def test_a_schedule_that_gained_or_lost_a_parameter_is_told(before, now, words):
    """Switches count too; where no code is loaded, there is nothing to compare."""
    stored = [knob.name for knob in register(REFERENCE, before).knobs]
    check_same_parameters(REFERENCE, stored, "old")
    register(REFERENCE, now)
    with pytest.raises(StudyConflictError, match=rf"f {words}.*--name NEW"):
        check_same_parameters(REFERENCE, stored, "old")
    check_same_parameters("other.py:f", stored, "old")
    declare_unloaded("other.py:g", {"a": 1.0})
    check_same_parameters("other.py:g", stored, "old")


def test_hyperparameters_keep_the_function_that_they_were_made_with():
    """Declaring another one under the same reference changes no schedule that is there already."""
    before, point = made(polynomial, knobs={"power": 2.0}), Hyperparameters(0.5, REFERENCE, {"power": 2.0})
    steps, printed = np.arange(20.0), before.pytorch()
    expected = before.lrs(steps)
    register(REFERENCE, plateau)
    again = Schedule(point, 4, 5)
    np.testing.assert_array_equal(before.lrs(steps), expected)
    np.testing.assert_array_equal(again.lrs(steps), expected)
    assert again.pytorch() == printed


def test_hyperparameters_of_an_own_schedule_can_be_pickled():
    """For other processes, which know the function by its reference."""
    point = made(polynomial, knobs={"power": 2.0}).hyperparameters
    copy = pickle.loads(pickle.dumps(point))
    assert copy == point
    assert Schedule(copy, 4, 5).kind is kind_named(REFERENCE)


@pytest.mark.parametrize("name", ["p=1), __import__('os').system('id'", "a b", "1a", "", "lambda"])
def test_a_stored_parameter_that_no_function_can_have_is_refused(name):
    """Its name would stand in lines that users paste and run."""
    with pytest.raises(SpecError, match="a parameter's name must be a name in Python"):
        declare_unloaded(REFERENCE, {"power": 1.0, name: 1.0})
