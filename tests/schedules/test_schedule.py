"""Schedules against their oracle, ``torch.optim.lr_scheduler``, and against their own definitions."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lrsearch.errors import LrsearchError, SpecError, UnknownNameError
from lrsearch.parameters import Choice, Range
from lrsearch.schedules import KINDS, Hyperparameters, Kind, Schedule, kind_named
from lrsearch.schedules.kinds import DEFAULT_KINDS

WITH_TWIN = [
    kind.name for kind in KINDS.values() if kind.pytorch is not None and kind.name != "ReduceLROnPlateau"
]
OWN = ["WSD", "InverseTime", "InverseSqrt", "Sine", "WarmupExponential"]


def knob_values(kind: Kind, epochs: int) -> st.SearchStrategy[dict]:
    """Draw knobs from a kind's default ranges."""

    def draw(domain):
        if isinstance(domain, Range):
            whole = st.integers(int(domain.low), int(domain.high))
            return whole if domain.integer else st.floats(domain.low, domain.high)
        return st.sampled_from(domain.options) if isinstance(domain, Choice) else st.just(domain)

    def only_existing(values: dict) -> dict:
        return {knob.name: values[knob.name] for knob in kind.knobs if knob.exists_beside(values)}

    return st.fixed_dictionaries({k.name: draw(k.default_for(epochs)) for k in kind.knobs}).map(only_existing)


@st.composite
def schedules(draw, names, warmup=False):
    """Draw a schedule of one of the named kinds over a small run."""
    kind = kind_named(draw(st.sampled_from(names)))
    epochs, steps_per_epoch = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    fraction = draw(st.floats(0.0, 0.5)) if warmup and kind.takes_warmup else 0.0
    lr = draw(st.floats(1e-4, 5.0))
    hyperparameters = Hyperparameters(lr, kind.name, draw(knob_values(kind, epochs)), fraction)
    knobs = hyperparameters.knobs
    # PyTorch divides by zero when OneCycleLR peaks at its very first step
    assume(kind.name != "OneCycleLR" or knobs["pct_start"] * epochs * steps_per_epoch != 1)
    return Schedule(hyperparameters, epochs, steps_per_epoch)


def own_lrs(schedule: Schedule) -> np.ndarray:
    """All learning rates of a run without feedback, epoch by epoch."""
    return np.concatenate([schedule.epoch_lrs(epoch, None) for epoch in range(schedule.epochs)])


def optimizer_for(schedule: Schedule) -> torch.optim.Optimizer:
    """An SGD optimizer whose lr is the schedule's peak."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=schedule.hyperparameters.lr)


def twins(schedule: Schedule, optimizer: torch.optim.Optimizer) -> list[tuple[str, object]]:
    """PyTorch's own schedulers for a schedule, each with the clock that steps it."""
    pytorch = schedule.pytorch()
    lr_scheduler = torch.optim.lr_scheduler

    def main():
        if pytorch.name is None:
            return lr_scheduler.ConstantLR(optimizer, factor=1.0)
        return getattr(lr_scheduler, pytorch.name)(optimizer, **pytorch.arguments)

    if not pytorch.warmup_steps:
        return [(pytorch.clock, main())]
    steps = pytorch.warmup_steps
    rise = {"start_factor": 1 / steps, "end_factor": 1.0, "total_iters": steps - 1}
    if pytorch.clock == "epoch":
        return [("epoch", main()), ("step", lr_scheduler.LinearLR(optimizer, **rise))]
    after = main()
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    before = lr_scheduler.LinearLR(optimizer, **rise)
    return [("step", lr_scheduler.SequentialLR(optimizer, [before, after], milestones=[steps - 1]))]


def pytorch_lrs(schedule: Schedule) -> np.ndarray:
    """All learning rates as logged from ``optimizer.param_groups`` in PyTorch's own loop."""
    optimizer = optimizer_for(schedule)
    logged = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The epoch parameter in `scheduler.step")
        schedulers = twins(schedule, optimizer)
        for step in range(1, schedule.total_steps + 1):
            logged.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if step == schedule.total_steps:
                break  # OneCycleLR refuses a step beyond its run
            for clock, scheduler in schedulers:
                if clock == "step" or step % schedule.steps_per_epoch == 0:
                    scheduler.step()
    return np.array(logged)


@settings(max_examples=300)
@given(schedules(WITH_TWIN))
def test_every_kind_that_pytorch_has_follows_its_class(schedule):
    """Step by step, over random parameters, the closed form equals PyTorch's scheduler."""
    np.testing.assert_allclose(own_lrs(schedule), pytorch_lrs(schedule), rtol=1e-6, atol=1e-12)


@settings(max_examples=200)
@given(schedules(WITH_TWIN, warmup=True))
def test_warmup_follows_pytorchs_sequential_and_chained_schedulers(schedule):
    """Warm-up equals LinearLR in SequentialLR (step clock) or chained with the main one (epoch clock)."""
    np.testing.assert_allclose(own_lrs(schedule), pytorch_lrs(schedule), rtol=1e-6, atol=1e-12)


@settings(max_examples=150)
@given(
    st.data(),
    st.integers(1, 30),
    st.floats(1e-6, 5.0),
    st.lists(st.floats(0.0, 3.0) | st.just(math.inf), min_size=30, max_size=30),
)
def test_plateau_follows_pytorchs_class(data, epochs, lr, losses):
    """The fold over losses cuts when and where ReduceLROnPlateau does, infinite losses included."""
    knobs = data.draw(knob_values(kind_named("ReduceLROnPlateau"), epochs))
    knobs |= {"cooldown": data.draw(st.integers(0, 3)), "min_factor": data.draw(st.floats(0.0, 0.5))}
    schedule = Schedule(Hyperparameters(lr, "ReduceLROnPlateau", knobs), epochs, 3)
    optimizer, state = optimizer_for(schedule), schedule.start()
    [(_clock, twin)] = twins(schedule, optimizer)
    for epoch in range(epochs):
        expected = np.full(3, optimizer.param_groups[0]["lr"])
        np.testing.assert_allclose(schedule.epoch_lrs(epoch, state), expected, rtol=1e-6)
        twin.step(losses[epoch])
        state = schedule.update(state, losses[epoch])


@settings(max_examples=100)
@given(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0), st.integers(1, 9), st.integers(1, 9))
def test_the_peak_of_every_kind_is_lr(lr, warmup_fraction, epochs, steps_per_epoch):
    """No kind ever exceeds its peak, with or without warm-up, and no learning rate is negative."""
    for kind in KINDS.values():
        fraction = min(warmup_fraction, 0.9) if kind.takes_warmup else 0.0
        schedule = Schedule(Hyperparameters(lr, kind.name, {}, fraction), epochs, steps_per_epoch)
        lrs = np.concatenate([schedule.epoch_lrs(e, schedule.start()) for e in range(epochs)])
        assert lrs.shape == (epochs * steps_per_epoch,)
        assert lrs.max() <= lr * (1 + 1e-12)
        assert lrs.min() >= 0


def test_warmup_then_exponential_decay_is_the_articles_formula():
    """It is lr (step + 1) / warmup_steps, then lr exp(-(step - warmup_steps + 1) gamma)."""
    schedule = Schedule(Hyperparameters(0.2, "WarmupExponential", {"final_factor": 0.05}, 0.1), 10, 20)
    warmup_steps = schedule.warmup_steps
    gamma = -math.log(0.05) / (200 - warmup_steps + 1)
    expected = [
        0.2 * (step + 1) / warmup_steps
        if step < warmup_steps
        else 0.2 * math.exp(-(step - warmup_steps + 1) * gamma)
        for step in range(200)
    ]
    assert warmup_steps == 20
    np.testing.assert_allclose(own_lrs(schedule), expected, rtol=1e-12)


def test_inverse_time_reaches_its_final_factor_at_the_end_of_the_run():
    """A decay reaches its end value at step N; the last step used is N - 1."""
    for kind, knobs in [("InverseTime", {"final_factor": 0.02, "power": 0.7}), ("WarmupExponential", {})]:
        schedule = Schedule(Hyperparameters(1.0, kind, knobs), 5, 10)
        end = schedule.lrs(np.array([50.0]))
        np.testing.assert_allclose(end, [schedule.hyperparameters.knobs["final_factor"]], rtol=1e-12)


def test_wsd_holds_then_falls_with_the_square_root():
    """1 until s, then 1 - sqrt((t - s)/(N - s))."""
    schedule = Schedule(Hyperparameters(1.0, "WSD", {"decay_fraction": 0.25}), 4, 10)
    expected = [1 - math.sqrt(max(0, t - 30) / 10) for t in range(40)]
    np.testing.assert_allclose(own_lrs(schedule), expected, rtol=1e-12)


@pytest.mark.parametrize(("fraction", "w"), [(0.0, 2.0), (0.25, 10.0)])
def test_inverse_sqrt_is_flat_for_w_steps_and_falls_after(fraction, w):
    """Sqrt(w / max(t, w)), w the warm-up's steps, or N/20 without one."""
    schedule = Schedule(Hyperparameters(1.0, "InverseSqrt", {}, fraction), 4, 10)
    rise = [min(1, (t + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1 for t in range(40)]
    expected = [r * math.sqrt(w / max(t, w)) for t, r in enumerate(rise)]
    np.testing.assert_allclose(own_lrs(schedule), expected, rtol=1e-12)


@pytest.mark.parametrize("mode", ["sin", "sin2", "sin_exp"])
def test_sine_is_a_damped_row_of_bumps(mode):
    """Base + (1 - base) abs(sin(pi t / 2l)), halved each cycle (sin2) or times gamma^t (sin_exp)."""
    knobs = {"mode": mode, "cycles": 3, "base_factor": 0.2}
    if mode == "sin_exp":
        knobs["final_factor"] = 0.1
    schedule = Schedule(Hyperparameters(1.0, "Sine", knobs), 6, 5)
    damping = {"sin": lambda _t: 1, "sin2": lambda t: 0.5 ** (t // 10), "sin_exp": lambda t: 0.1 ** (t / 30)}
    expected = [0.2 + 0.8 * abs(math.sin(math.pi * t / 10)) * damping[mode](t) for t in range(30)]
    np.testing.assert_allclose(own_lrs(schedule), expected, rtol=1e-9, atol=1e-12)


def test_restarts_never_leave_the_last_steps_at_the_peak():
    """The cycles just cover the run, so that training ends in a valley."""
    for cycles in (2, 3, 4, 5):
        for ratio in (1, 2):
            knobs = {"cycles": cycles, "T_mult": ratio}
            lrs = own_lrs(Schedule(Hyperparameters(1.0, "CosineAnnealingWarmRestarts", knobs), 10, 37))
            assert lrs[-1] < 0.1
            assert np.count_nonzero(lrs == 1.0) == cycles


def test_one_cycle_may_peak_at_its_very_first_step():
    """Where PyTorch divides by zero, the run starts at the peak."""
    lrs = own_lrs(Schedule(Hyperparameters(1.0, "OneCycleLR", {"pct_start": 0.1}), 10, 1))
    assert lrs[0] == 1.0
    assert np.all(np.diff(lrs) < 0)


def test_a_warmup_of_one_step_is_no_warmup():
    """W <= 1 changes nothing: (t + 1)/1 is 1 from the first step."""
    plain = Schedule(Hyperparameters(1.0, "LinearLR"), 1, 10)
    short = Schedule(Hyperparameters(1.0, "LinearLR", {}, 0.1), 1, 10)
    assert own_lrs(plain).tolist() == own_lrs(short).tolist()


def test_equal_trajectories_are_recognised_across_parameters():
    """Two step fractions that round to the same step size are the same run; another gamma is not."""
    keys = [
        Schedule(Hyperparameters(0.1, "StepLR", {"step_fraction": f, "gamma": g}), 10, 5).trajectory()
        for f, g in [(0.30, 0.1), (0.32, 0.1), (0.30, 0.2)]
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_plateau_trajectories_differ_by_rule():
    """Schedules with feedback are compared by their rule."""
    keys = [
        Schedule(Hyperparameters(0.1, "ReduceLROnPlateau", {"patience": p}), 10, 5).trajectory()
        for p in (1, 1, 2)
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_a_point_survives_the_way_through_json_names():
    """to_point and from_point are inverses, for every kind."""
    for kind in KINDS.values():
        fraction = 0.1 if kind.takes_warmup else 0.0
        point = Hyperparameters(0.3, kind.name, {}, fraction, {"momentum": 0.9})
        assert Hyperparameters.from_point(point.to_point()) == point


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lr": 0.0}, SpecError, "lr must be a finite number above 0, but got 0.0"),
        ({"lr": math.nan}, SpecError, "lr must be a finite number"),
        ({"lr": 0.1, "kind": "StepRL"}, UnknownNameError, "Did you mean 'StepLR'"),
        ({"lr": 0.1, "kind": "cosine"}, UnknownNameError, "Did you mean 'CosineAnnealingLR'"),
        ({"lr": 0.1, "kind": "StepLR", "knobs": {"gama": 0.1}}, UnknownNameError, "Did you mean 'gamma'"),
        ({"lr": 0.1, "kind": "StepLR", "knobs": {"gamma": 1.5}}, SpecError, "StepLR.gamma must lie in"),
        ({"lr": 0.1, "warmup_fraction": 1.0}, SpecError, r"warmup_fraction must lie in \[0, 1\)"),
        ({"lr": 0.1, "kind": "OneCycleLR", "warmup_fraction": 0.1}, SpecError, "takes no warm-up"),
    ],
)
def test_a_point_that_breaks_a_rule_is_refused(arguments, error, message):
    """The error names the rule and the value got."""
    with pytest.raises(error, match=message):
        Hyperparameters(**arguments)


def test_an_empty_run_has_no_schedule():
    """At least one epoch of one step is needed."""
    with pytest.raises(SpecError, match="at least one epoch"):
        Schedule(Hyperparameters(0.1), 0, 10)


def test_a_schedule_with_feedback_cannot_be_tabulated():
    """Plateau's rates depend on losses; asking without them is an error."""
    with pytest.raises(LrsearchError, match="epoch by epoch"):
        Schedule(Hyperparameters(0.1, "ReduceLROnPlateau"), 2, 2).lrs(np.arange(4.0))


def test_there_are_sixteen_kinds_and_seven_are_searched_by_default():
    """The table of kinds is complete."""
    assert len(KINDS) == 16
    assert len(DEFAULT_KINDS) == 7
    assert set(WITH_TWIN + OWN + ["ReduceLROnPlateau"]) == set(KINDS)
