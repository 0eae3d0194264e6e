"""Suggested rates against valleys that are known, and against the naive ways that miss them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.lr_range import (
    LINEAR,
    RULES,
    Growth,
    LrInterval,
    RangeTest,
    find_zones,
    lane_curve,
    smoothed_curves,
    suggestions,
    widened,
)
from tests.lr_range.curves import Valley, exponential, synthetic, unstable
from tests.lr_range.test_zones import valleys


def by_rule(suggested):
    """Return each rule's rate."""
    return {rule.rule: rule.lr for rule in suggested.rules}


@settings(max_examples=60)
@given(valley=valleys, noise=st.floats(0, 0.3), steps=st.integers(100, 300), seed=st.integers(0, 2**16))
def test_the_consensus_lies_in_the_known_valley(valley, noise, steps, seed):
    """Through noise, every rule suggests a rate between the beginning of the fall and the rise."""
    suggested = suggestions(synthetic(valley.losses, exponential(steps), noise, seed=seed))
    rates = by_rule(suggested)
    assert list(rates) == list(RULES)
    assert valley.fall / 2 < rates["steepest"] < valley.fall * 2
    assert rates["steepest"] <= rates["valley"] * 1.5
    assert valley.fall / 2 < suggested.lr < valley.rise / 2
    assert suggested.interval.low < valley.fall < suggested.interval.high < valley.rise
    assert all(valley.fall / 20 < rate < valley.rise for rate in rates.values())


def test_the_steepest_descent_is_against_log_lr():
    """Against lr itself the smallest rates win, which are the least useful ones."""
    valley = Valley()
    test = synthetic(valley.losses, exponential(), 0.02, seeds=1)
    lrs, losses = test.lrs(), np.array(test.lanes[0].losses)
    naive = lrs[: len(losses)][np.argmin(np.gradient(losses, lrs[: len(losses)]))]
    assert naive < valley.fall / 1000
    assert by_rule(suggestions(test))["steepest"] == pytest.approx(valley.fall, rel=0.2)


@pytest.mark.parametrize("end", [math.nan, math.inf])
def test_a_curve_that_ends_in_nan_has_suggestions(end):
    """Where numpy's minimum, mean and slope of the same losses are the NaN itself."""
    losses = Valley().losses(exponential().lrs())
    losses[180:] = end
    test = RangeTest("digits-mlp", exponential(), (lane_curve(0, 2.3, losses.tolist()),))
    with np.errstate(invalid="ignore"):
        naive = int(np.argmin(np.gradient(losses)))
    assert naive >= 179
    assert by_rule(suggestions(test))["steepest"] == pytest.approx(1e-2, rel=0.2)


def test_linear_growth_is_read_over_log_lr():
    """Its steps crowd at the upper end: by step, the steepest descent is the second step or so."""
    valley = Valley(fall=0.1, rise=3.0, width=1.2)
    test = synthetic(valley.losses, Growth(LINEAR, 1e-3, 5.0, 500), 0.02)
    losses = np.mean([lane.losses[:100] for lane in test.lanes], axis=0)
    naive = float(test.lrs()[np.argmin(np.gradient(losses))])
    assert naive < valley.fall / 1.5
    assert by_rule(suggestions(test))["steepest"] == pytest.approx(valley.fall, rel=0.35)


def test_a_minimum_of_the_raw_losses_is_that_of_the_noise():
    """The rule takes the smoothed curve's, which is the same for every seed within its width."""
    valley = Valley(fall=1e-3, rise=1.0)
    rates = [by_rule(suggestions(synthetic(valley.losses, exponential(), 0.3, seed=i))) for i in range(10)]
    smoothed = np.log10([rate["minimum / 10"] for rate in rates])
    assert smoothed.std() < 0.35


def test_the_zero_slope_is_behind_the_steepest_and_left_of_the_lowest():
    """A little to the left of where the descent ends."""
    rates = by_rule(suggestions(synthetic(Valley().losses, exponential(), 0.05)))
    falling = find_zones(synthetic(Valley().losses, exponential(), 0.05)).falling
    assert rates["steepest"] < rates["zero slope"] < falling.high


def test_the_valley_is_two_thirds_down_the_longest_run():
    """On the log scale; a bump on the way does not end it."""
    lrs = np.geomspace(1e-4, 1.0, 101)
    losses = np.interp(np.arange(101), [0, 10, 12, 20, 80, 100], [1.0, 0.9, 1.02, 1.0, 0.0, 1.0])
    losses[50] += 0.03
    begin, end = lrs[12], lrs[80]
    assert RULES["valley"](lrs, losses) == pytest.approx(begin * (end / begin) ** (2 / 3), rel=1e-9)


def test_the_consensus_is_the_geometric_median_of_all_seeds_and_rules():
    """And its spread is the factor within which all rules lie."""
    suggested = suggestions(synthetic(Valley().losses, exponential(), 0.2, seeds=5))
    every = [lr for rule in suggested.rules for lr in rule.lrs]
    assert len(every) == 5 * len(RULES)
    assert math.log(suggested.lr) == pytest.approx(np.median(np.log(every)))
    for rule in suggested.rules:
        assert math.log(rule.lr) == pytest.approx(np.median(np.log(rule.lrs)))
        assert all(1 / rule.spread <= lr / rule.lr * (1 + 1e-9) for lr in rule.lrs)
        assert all(lr / rule.lr <= rule.spread * (1 + 1e-9) for lr in rule.lrs)
        assert 1 / suggested.spread <= rule.lr / suggested.lr * (1 + 1e-9)
        assert rule.lr / suggested.lr <= suggested.spread * (1 + 1e-9)


def test_seeds_that_agree_have_no_spread():
    """Without noise all lanes are the same."""
    suggested = suggestions(synthetic(Valley().losses, exponential()))
    assert [rule.spread for rule in suggested.rules] == pytest.approx([1.0] * len(RULES))


def test_the_interval_ends_left_of_the_rise():
    """By a factor of 2 where the loss has risen noticeably, at its lowest where it has not."""
    test = synthetic(Valley().losses, exponential(), 0.05)
    zones, interval = find_zones(test), suggestions(test).interval
    assert interval.low == zones.falling.low
    assert interval.high == min(zones.falling.high, zones.limit / 2)
    open_ended = synthetic(Valley(rise=1e9).losses, exponential(), 0.05)
    assert suggestions(open_ended).interval.high == find_zones(open_ended).falling.high


def test_nothing_is_suggested_without_a_fall():
    """A rate read from noise would be worse than none."""
    suggested = suggestions(synthetic(lambda lrs: np.full(lrs.shape, 2.3), exponential(), 0.2))
    assert (suggested.rules, suggested.lr, suggested.spread, suggested.interval) == ((), None, None, None)


def test_one_lane_of_three_that_diverges_early_is_outvoted():
    """The median over seeds is not moved by it."""
    lanes = list(synthetic(Valley().losses, exponential(), 0.1).lanes)
    lanes[1] = lane_curve(1, 2.3, [*lanes[1].losses[:140], math.nan])
    suggested = suggestions(RangeTest("digits-mlp", exponential(), tuple(lanes)))
    whole = suggestions(synthetic(Valley().losses, exponential(), 0.1))
    assert suggested.lr == pytest.approx(whole.lr, rel=0.5)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_no_rule_suggests_the_way_back_from_an_instability(noise):
    """It is steeper than the descent before."""
    test = synthetic(unstable, exponential(), noise)
    suggested, falling = suggestions(test), find_zones(test).falling
    assert by_rule(suggested)["steepest"] == pytest.approx(2.5e-3, rel=0.5)
    assert all(falling.low <= lr <= falling.high for rule in suggested.rules for lr in rule.lrs)


@settings(max_examples=60)
@given(
    valley=valleys,
    low=st.floats(-5, -1).map(lambda exponent: 10**exponent),
    noise=st.floats(0, 0.3),
    seed=st.integers(0, 2**16),
)
def test_every_rate_lies_within_the_test_and_the_interval(valley, low, noise, seed):
    """Wherever the test begins: a tenth of a lowest near the beginning would lie below it."""
    test = synthetic(valley.losses, exponential(low=low), noise, seed=seed)
    suggested = suggestions(test)
    for lr in (lr for rule in suggested.rules for lr in (rule.lr, *rule.lrs, suggested.lr)):
        assert test.growth.low * (1 - 1e-9) <= suggested.interval.low <= lr * (1 + 1e-9)
        assert lr * (1 - 1e-9) <= suggested.interval.high <= test.growth.high


def test_widening_is_a_factor_to_both_sides():
    """As it is stated where the bounds of a search are printed."""
    assert widened(LrInterval(0.03, 0.3), 3.0) == LrInterval(0.03 / 3, 0.3 * 3)


@settings(max_examples=40)
@given(losses=st.lists(st.floats(-1e3, 1e3), min_size=20, max_size=200), seed=st.integers(0, 9))
def test_no_curve_breaks_the_rules(losses, seed):
    """Whatever was measured, all numbers that are given are finite and lie within reach of the test."""
    test = RangeTest("digits-mlp", exponential(200), (lane_curve(seed, losses[0], losses[1:]),))
    suggested = suggestions(test)
    assert np.isfinite(smoothed_curves(test).lanes).all()
    for rule in suggested.rules:
        assert 1e-6 * (1 - 1e-9) <= rule.lr <= 10.0
    if suggested.interval is not None:
        assert 1e-6 * (1 - 1e-9) <= suggested.interval.low < suggested.interval.high <= 10.0
