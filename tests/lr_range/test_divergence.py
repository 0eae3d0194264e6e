"""When a lane has diverged: early enough, and never by mistake."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lrsearch.lr_range import LossWatch


def diverges_at(losses):
    """Return the first step at which the watch says so, or None."""
    watch = LossWatch()
    return next((step for step, loss in enumerate(losses) if watch.diverges(loss)), None)


def noisy(level, noise, steps=500, seed=0):
    """Return losses that stay where they are."""
    return level + noise * np.random.default_rng(seed).standard_normal(steps)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_diverges_at_once(loss):
    """Also the very first."""
    assert diverges_at([loss]) == 0
    assert diverges_at([1.0, 1.0, loss]) == 2


@settings(max_examples=60)
@given(
    level=st.sampled_from([0.0, 1e-6, 0.1, 2.3, 1e4]) | st.floats(-100, 100),
    noise=st.sampled_from([0.0, 1e-3, 0.3, 5.0]),
    seed=st.integers(0, 2**16),
)
@example(level=0.0, noise=0.0, seed=0)
def test_noise_is_no_divergence(level, noise, seed):
    """Wherever the loss lies, and however much it scatters: 4 times a best of about zero means nothing."""
    assert diverges_at(noisy(level, noise, seed=seed)) is None


@settings(max_examples=60)
@given(
    level=st.sampled_from([0.0, -50.0, 1e-6, 2.3]) | st.floats(-100, 100),
    noise=st.sampled_from([1e-3, 0.1]),
    seed=st.integers(0, 2**16),
)
def test_an_explosion_is_noticed_wherever_the_loss_lies(level, noise, seed):
    """A best loss of zero or below does not keep the rule from working."""
    calm = noisy(level, noise, 50, seed)
    explosion = level + (abs(level) + noise) * 2.0 ** np.arange(12)
    step = diverges_at([*calm, *explosion])
    assert step is not None
    assert step >= 50


def test_the_first_smoothed_loss_is_the_first_loss():
    """Uncorrected, the average begins near zero, is the best for ever, and every later loss is 4 times it."""
    watch = LossWatch()
    watch.diverges(2.3)
    assert watch.smoothed == pytest.approx(2.3)
    naive = 0.1 * 2.3
    assert watch.smoothed > 4 * naive


def test_the_smoothed_loss_of_a_constant_is_the_constant():
    """At every step, as the correction promises."""
    watch = LossWatch()
    for _step in range(30):
        watch.diverges(-0.7)
        assert watch.smoothed == pytest.approx(-0.7)


def test_the_limit_is_four_times_the_best():
    """Where the loss is far from zero and scatters little."""
    watch = LossWatch()
    for loss in np.linspace(2.0, 1.0, 400):
        watch.diverges(float(loss))
    best = watch.smoothed
    assert watch.limit == pytest.approx(4 * best)


def test_a_loss_near_zero_does_not_end_a_lane():
    """A net that has learned its few examples scatters by far more than 4 times its best."""
    fall = np.geomspace(2.3, 1e-4, 200)
    scatter = np.abs(noisy(0.0, 0.02, 200))
    assert diverges_at([*fall, *scatter]) is None


def test_a_slow_rise_ends_a_lane_too():
    """No single loss needs to jump."""
    losses = [*np.linspace(2.3, 0.3, 100), *np.linspace(0.3, 5.0, 200)]
    step = diverges_at(losses)
    assert step is not None
    assert 1.2 < losses[step] < 2.0
