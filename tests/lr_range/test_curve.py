"""Curves: what is kept of the losses, and what smoothing makes of them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import SpecError
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


@settings(max_examples=50, deadline=None)
@given(
    kind=st.sampled_from(GROWTHS),
    lanes=st.lists(st.tuples(finite, st.lists(finite, min_size=1, max_size=20), st.booleans()), min_size=1),
)
def test_a_range_test_survives_json(kind, lanes):
    """Written strictly and read back, it is equal."""
    curves = tuple(LaneCurve(seed, *lane[:1], tuple(lane[1]), lane[2]) for seed, lane in enumerate(lanes))
    test = RangeTest("digits-mlp", Growth(kind, 1e-6, 1.0, 20), curves, {"optimizer": "SGD"})
    assert RangeTest.from_json(json.loads(json.dumps(test.to_json(), allow_nan=False))) == test


@pytest.mark.parametrize("end", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_a_curve(end):
    """It is not kept: one NaN would make every mean, slope and minimum NaN."""
    curve = lane_curve(0, 2.0, [1.5, 1.0, end, 0.1])
    assert curve == LaneCurve(0, 2.0, (1.5, 1.0), diverged=True)


@pytest.mark.parametrize("losses", [(1.0, math.nan), (math.inf,)])
def test_a_curve_cannot_hold_what_is_not_finite(losses):
    """However it was made."""
    with pytest.raises(SpecError, match="finite losses alone"):
        LaneCurve(0, 1.0, losses)
    with pytest.raises(SpecError, match="after 0 updates with seed 3"):
        LaneCurve(3, losses[-1], ())


def test_a_finite_loss_that_diverges_is_kept():
    """It belongs to the picture."""
    curve = lane_curve(0, 1.0, [*[1.0] * 20, 1e9, 5.0])
    assert curve.diverged
    assert curve.losses[-1] == 1e9
    assert len(curve.losses) == 21


@pytest.mark.parametrize(
    "lanes",
    [(), (LaneCurve(0, 1.0, ()),), (LaneCurve(0, 1.0, (1.0,) * 21),)],
)
def test_a_test_has_seeds_and_fits_its_growth(lanes):
    """No seeds, no updates, or more losses than updates are refused."""
    with pytest.raises(SpecError, match="at least one seed"):
        RangeTest("digits-mlp", exponential(20), lanes)


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(GROWTHS), level=finite, steps=st.integers(20, 200))
def test_a_constant_loss_is_smoothed_to_itself(kind, level, steps):
    """From the first point to the last: an uncorrected moving average begins at zero."""
    growth = Growth(kind, 1e-6, 10.0, steps)
    curves = smoothed_curves(synthetic(lambda lrs: np.full(lrs.shape, level), growth))
    np.testing.assert_allclose(curves.mean, level, rtol=1e-9, atol=1e-9)


def test_smoothing_does_not_lag():
    """The mean of a straight line is the line; a one-sided average would show it shifted to larger rates."""
    growth = exponential(200)
    curves = smoothed_curves(synthetic(lambda lrs: -np.log10(lrs), growth, seeds=1))
    inner = slice(50, 150)
    np.testing.assert_allclose(curves.mean[inner], -np.log10(curves.lrs[inner]), atol=0.02)


def test_points_are_even_in_log_lr_whatever_the_growth():
    """Linear growth has nearly all its losses at the upper end."""
    for growth in (exponential(), Growth(LINEAR, 1e-3, 1.0, 200)):
        ratios = smoothed_curves(synthetic(Valley().losses, growth)).lrs
        np.testing.assert_allclose(np.diff(np.log(ratios)), np.log(ratios[1] / ratios[0]), rtol=1e-6)


def test_noise_is_what_chance_leaves_in_the_mean():
    """Over many repetitions, the smoothed mean scatters by the stated standard error."""
    tests = [
        synthetic(lambda lrs: np.full(lrs.shape, 1.0), exponential(100), 0.3, seed=i) for i in range(200)
    ]
    curves = [smoothed_curves(test) for test in tests]
    measured = np.std([curve.mean for curve in curves], axis=0)
    stated = np.mean([curve.noise for curve in curves], axis=0)
    np.testing.assert_allclose(measured, stated, rtol=0.25)


def test_a_diverged_lane_counts_as_high_where_others_go_on():
    """Left out of the mean, its end would look like a fall."""
    good, bad = lane_curve(0, 2.0, [1.0] * 40), lane_curve(1, 2.0, [1.0] * 20 + [math.nan])
    curves = smoothed_curves(RangeTest("digits-mlp", exponential(40), (good, bad)))
    assert curves.lanes[1][-1] > 2.0 > curves.lanes[1][0]
    assert curves.mean[-1] > curves.mean[50] + 0.5


def test_an_explosion_does_not_hide_the_curve_before_it():
    """A last loss of 1e30 is cut off before it is smoothed."""
    valley, growth = Valley(), exponential()
    calm = synthetic(valley.losses, growth, seeds=1)
    [lane] = calm.lanes
    exploded = LaneCurve(0, lane.untrained_loss, (*lane.losses[:-1], 1e30), diverged=True)
    suggested = suggestions(RangeTest("digits-mlp", growth, (exploded,)))
    assert suggested.lr == pytest.approx(suggestions(calm).lr, rel=0.1)


def test_a_curve_of_one_update_is_read():
    """Where the first update already diverges there is a zone, and no division by zero."""
    test = RangeTest("digits-mlp", exponential(), (LaneCurve(0, 2.0, (), diverged=True),))
    zones = find_zones(test)
    assert zones.falling is None
    assert zones.rising is not None
    assert suggestions(test).lr is None


@pytest.mark.parametrize(("end", "kept"), [(1e9, 1), (math.nan, 0)])
def test_the_diverging_update_counts_once(end, kept):
    """Whether its loss was finite, and so is among the losses, or not."""
    lane = lane_curve(0, 1.0, [*[1.0] * 30, end])
    assert (len(lane.losses), lane.updates) == (30 + kept, 31)
    test = RangeTest("digits-mlp", exponential(50), (lane,))
    assert test.steps == len(test.lrs()) == 31
