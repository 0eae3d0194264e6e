"""Smoothed curves: no lag, no bias, and explosions that stay where they are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.lr_range import (
    GROWTHS,
    LINEAR,
    Growth,
    LaneCurve,
    RangeTest,
    find_zones,
    lane_curve,
    smoothed_curves,
    suggestions,
)
from tests.lr_range.curves import Valley, exponential, synthetic

finite = st.floats(-1e6, 1e6)


@settings(max_examples=40)
@given(kind=st.sampled_from(GROWTHS), level=finite, steps=st.integers(20, 200))
def test_a_constant_loss_is_smoothed_to_itself(kind, level, steps):
    """From the first point to the last: an uncorrected moving average begins at zero."""
    growth = Growth(kind, 1e-6, 10.0, steps)
    curves = smoothed_curves(synthetic(lambda lrs: np.full(lrs.shape, level), growth))
    np.testing.assert_allclose(curves.median, level, rtol=1e-9, atol=1e-9)


def test_smoothing_does_not_lag():
    """A straight line stays the line; a one-sided average would show it shifted to larger rates."""
    growth = exponential(200)
    curves = smoothed_curves(synthetic(lambda lrs: -np.log10(lrs), growth, seeds=1))
    inner = slice(50, 150)
    np.testing.assert_allclose(curves.median[inner], -np.log10(curves.lrs[inner]), atol=0.02)


def test_points_are_even_in_log_lr_whatever_the_growth():
    """Linear growth has nearly all its losses at the upper end."""
    for growth in (exponential(), Growth(LINEAR, 1e-3, 1.0, 200)):
        ratios = smoothed_curves(synthetic(Valley().losses, growth)).lrs
        np.testing.assert_allclose(np.diff(np.log(ratios)), np.log(ratios[1] / ratios[0]), rtol=1e-6)


def test_noise_is_what_chance_leaves_in_the_median():
    """Over many repetitions, the smoothed median scatters by the stated standard error."""
    tests = [
        synthetic(lambda lrs: np.full(lrs.shape, 1.0), exponential(100), 0.3, seed=i) for i in range(200)
    ]
    curves = [smoothed_curves(test) for test in tests]
    measured = np.std([curve.median for curve in curves], axis=0)
    stated = np.mean([curve.noise for curve in curves], axis=0)
    np.testing.assert_allclose(measured, stated, rtol=0.25)


def test_a_diverged_lane_counts_as_high_where_others_go_on():
    """Left out of the median, its end would look like a fall."""
    good, bad = lane_curve(0, 2.0, [1.0] * 40), lane_curve(1, 2.0, [1.0] * 20 + [math.nan])
    curves = smoothed_curves(RangeTest("digits-mlp", exponential(40), (good, bad)))
    assert curves.lanes[1][-1] > 2.0 > curves.lanes[1][0]
    assert curves.median[-1] > curves.median[50] + 0.5


def test_an_explosion_does_not_hide_the_curve_before_it():
    """A last loss of 1e30 is cut off before it is smoothed."""
    valley, growth = Valley(), exponential()
    calm = synthetic(valley.losses, growth, seeds=1)
    [lane] = calm.lanes
    exploded = LaneCurve(0, lane.untrained_loss, (*lane.losses[:-1], 1e30), diverged=True)
    suggested = suggestions(RangeTest("digits-mlp", growth, (exploded,)))
    assert suggested.lr == pytest.approx(suggestions(calm).lr, rel=0.1)


def test_an_explosion_is_not_smoothed_back_to_the_lowest_loss():
    """Losses that jump to a million lift the lowest point little more than if they came back to the start."""
    calm = lane_curve(0, 2.3, [2.3] * 60 + np.linspace(2.3, 0.3, 20).tolist() + [2.3] * 20)
    losses = (*calm.losses[:80], *[1e6] * 20)
    lowest = [
        smoothed_curves(RangeTest("digits-mlp", exponential(100), (lane,))).median.min()
        for lane in (calm, LaneCurve(0, 2.3, losses, diverged=True))
    ]
    assert lowest[1] < lowest[0] + 0.15


def test_one_seed_that_explodes_does_not_move_the_median():
    """Its losses are high before it has diverged, and would lift a mean by a third of them."""
    lanes = synthetic(Valley().losses, exponential(), 0.05).lanes
    spike = [50.0 if 120 <= step < 150 else loss for step, loss in enumerate(lanes[1].losses)]
    exploding = RangeTest("digits-mlp", exponential(), (lanes[0], LaneCurve(1, 2.3, tuple(spike)), lanes[2]))
    whole, found = find_zones(synthetic(Valley().losses, exponential(), 0.05)), find_zones(exploding)
    assert found.falling.low == pytest.approx(whole.falling.low, rel=0.2)
    assert 1 / 2 < found.falling.high / whole.falling.high < 2
    assert found.limit == pytest.approx(whole.limit, rel=0.2)
