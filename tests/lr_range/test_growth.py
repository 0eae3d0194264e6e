"""Growth of the learning rate against the formulas of the range test's source."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.lr_range import EXPONENTIAL, GROWTHS, LINEAR, MIN_STEPS, Growth


def test_the_sources_linear_example():
    """From 1e-5 by d = 5e-5, over 17,000 iterations in 8 epochs: lr = 1e-5 + 0.85 in the end."""
    growth = Growth(LINEAR, 1e-5, 1e-5 + 0.85, steps=8 * 2125)
    assert growth.steps == 17_000
    assert growth.increment == pytest.approx(5e-5, rel=1e-12)
    np.testing.assert_allclose(growth.lrs(), 1e-5 + 5e-5 * np.arange(17_000), rtol=1e-10)


def test_the_sources_exponential_example():
    """From 1e-5, doubled every 1,000 of 17,000 iterations: lr = 1e-5 * 2^17 = 1.31 in the end."""
    growth = Growth(EXPONENTIAL, 1e-5, 1e-5 * 2**17, steps=17_000)
    assert round(growth.high, 2) == 1.31
    assert growth.doubling_period == pytest.approx(1_000, rel=1e-12)
    np.testing.assert_allclose(growth.lrs(), 1e-5 * 2.0 ** (np.arange(17_000) / 1_000), rtol=1e-10)


@settings(max_examples=100)
@given(
    kind=st.sampled_from(GROWTHS),
    low=st.floats(1e-9, 1.0),
    factor=st.floats(1.1, 1e9),
    steps=st.integers(MIN_STEPS, 500),
)
def test_the_rate_rises_from_min_and_would_reach_max(kind, low, factor, steps):
    """By equal differences or equal ratios, as d and the doubling period say."""
    growth = Growth(kind, low, low * factor, steps)
    lrs = np.append(growth.lrs(), growth.high)
    assert lrs[0] == pytest.approx(low, rel=1e-12)
    assert (np.diff(lrs) > 0).all()
    if kind == LINEAR:
        assert growth.doubling_period is None
        np.testing.assert_allclose(np.diff(lrs), growth.increment, rtol=1e-6)
    else:
        assert growth.increment is None
        np.testing.assert_allclose(lrs[1:] / lrs[:-1], 2 ** (1 / growth.doubling_period), rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_rates_that_do_not_rise_from_above_zero_are_refused(low, high):
    """The message has the rule and both values."""
    with pytest.raises(SpecError, match=rf"0 < min < max, but got min = {low}, max = {high}"):
        Growth(EXPONENTIAL, low, high, 100)


def test_nan_is_no_learning_rate():
    """It compares as false with everything."""
    with pytest.raises(SpecError, match="min = nan"):
        Growth(EXPONENTIAL, math.nan, 1.0, 100)


@pytest.mark.parametrize("steps", [-1, 0, 1, MIN_STEPS - 1])
def test_too_few_steps_are_refused(steps):
    """A slope cannot be told from noise; the message names the least and what is usual."""
    with pytest.raises(SpecError, match=rf"at least 20 steps .* but got {steps}; .*--steps 200"):
        Growth(LINEAR, 1e-6, 10.0, steps)


def test_the_fewest_steps_are_accepted():
    """The rule says at least."""
    assert Growth(LINEAR, 1e-6, 10.0, MIN_STEPS).lrs().shape == (MIN_STEPS,)


def test_an_unknown_growth_is_refused():
    """With the names that exist."""
    with pytest.raises(UnknownNameError, match=r"'exponental'\. Did you mean 'exponential'"):
        Growth("exponental", 1e-6, 10.0, 100)
