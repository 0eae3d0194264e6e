"""The three zones, where they are and what is said where they are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import InputError
from lrsearch.lr_range import GROWTHS, LINEAR, Growth, RangeTest, find_zones, lane_curve, zoomed
from tests.lr_range.curves import Valley, exponential, synthetic, unstable

valleys = st.builds(
    Valley,
    fall=st.floats(-4, -1.5).map(lambda exponent: 10**exponent),
    rise=st.floats(-0.5, 0.5).map(lambda exponent: 10**exponent),
    width=st.floats(0.3, 0.8),
)


@settings(max_examples=60)
@given(valley=valleys, noise=st.floats(0, 0.3), steps=st.integers(100, 300), seed=st.integers(0, 2**16))
def test_the_zones_are_those_that_were_drawn(valley, noise, steps, seed):
    """The fall begins before its middle and ends between there and the rise; the zones touch."""
    zones = find_zones(synthetic(valley.losses, exponential(steps), noise, seed=seed))
    assert zones.hints == ()
    assert zones.too_low.low == pytest.approx(1e-6)
    assert zones.too_low.high == zones.falling.low
    assert zones.falling.high == zones.rising.low
    assert valley.fall / 20 < zones.falling.low < valley.fall
    assert valley.fall < zones.falling.high < zones.limit < 2 * valley.rise


@settings(max_examples=60)
@given(
    kind=st.sampled_from(GROWTHS),
    level=st.floats(-10, 10),
    noise=st.just(0.0) | st.floats(1e-6, 1),
    steps=st.integers(20, 300),
    seed=st.integers(0, 2**16),
)
def test_noise_alone_has_no_falling_zone(kind, level, noise, steps, seed):
    """A hint says that the learning rate is not at fault."""
    growth = Growth(kind, 1e-6, 10.0, steps)
    zones = find_zones(synthetic(lambda lrs: np.full(lrs.shape, level), growth, noise, seed=seed))
    assert zones.falling is None
    assert "model, optimizer or data are at fault" in zones.hints[0]


def test_a_flat_loss_is_too_low_throughout():
    """What is there is named as well as what is not."""
    zones = find_zones(synthetic(lambda lrs: np.full(lrs.shape, 2.3), exponential(), 0.1))
    assert zones.too_low.high == pytest.approx(exponential().lrs()[-1])
    assert (zones.rising, zones.limit) == (None, None)
    assert "requires_grad" in zones.hints[0]


def test_a_loss_that_never_rises_asks_for_a_larger_max():
    """By a figure that can be pasted."""
    zones = find_zones(synthetic(Valley(rise=1e9).losses, exponential(), 0.1))
    assert zones.falling.low < 1e-2 < zones.falling.high
    assert (zones.rising, zones.limit) == (None, None)
    assert [hint for hint in zones.hints if "--max 100" in hint] == list(zones.hints)


def test_a_loss_that_falls_from_the_first_step_asks_for_a_smaller_min():
    """There is no zone in which the rate is too low."""
    zones = find_zones(synthetic(Valley(fall=3e-6, width=1.0).losses, exponential(), 0.1))
    assert zones.too_low is None
    assert zones.falling.low == pytest.approx(1e-6)
    assert [hint for hint in zones.hints if "--min 1e-07" in hint] == list(zones.hints)


def test_a_first_update_that_does_nearly_all_falls_from_the_first_step():
    """The untrained loss shows it; the first loss of the curve is already low."""
    zones = find_zones(
        synthetic(lambda lrs: np.where(lrs > 1e-6, 0.5, 2.3) - 0.01 * np.log10(lrs), exponential())
    )
    assert zones.too_low is None
    assert "--min" in zones.hints[0]


def test_a_loss_that_only_rises_asks_for_a_smaller_min():
    """And says what else may be at fault."""
    zones = find_zones(synthetic(Valley(fall=1e-12, rise=1e-5, width=0.1).losses, exponential(), 0.05))
    assert zones.falling is None
    assert zones.rising.high > zones.limit
    [hint] = zones.hints
    assert f"--min {zones.limit / 1000:.3g} (in Python low={zones.limit / 1000:.3g})" in hint
    assert "at fault" in hint


def test_a_test_that_ends_before_the_loss_can_fall_asks_for_a_larger_max():
    """Before it suspects the model, which is healthy: with a larger one, the same loss falls."""
    growth = exponential(high=1e-3)
    [hint] = find_zones(synthetic(Valley(fall=0.05).losses, growth, 0.1)).hints
    assert hint.startswith("the loss has not fallen up to lr 0.001: raise the largest learning rate, such as")
    assert "--max 10 (in Python high=10)" in hint
    assert hint.index("--max") < hint.index("at fault")
    assert find_zones(synthetic(Valley(fall=0.05).losses, exponential(), 0.1)).falling is not None


def test_a_fall_that_noise_hides_asks_for_less_noise():
    """Beginning lower would not show it: the rise is four decades above the first rate."""

    def losses(lrs):
        return 1.15 - 0.1 / (1 + 1e-3 / lrs) + np.where(lrs > 0.03, 5.0, 0.0)

    [hint] = find_zones(synthetic(losses, exponential(), 0.3)).hints
    assert hint.startswith("the loss rises from lr 0.0")
    assert "larger batches" in hint
    assert "--min" not in hint
    slower = find_zones(synthetic(losses, exponential(1000, high=0.1), 0.3, seeds=10))
    assert 1e-5 < slower.falling.low < slower.falling.high < 0.04


def test_a_slow_fall_in_noise_is_found_by_smoothing_more():
    """Its losses scatter by as much as they fall; over many decades, chance does not do that."""

    def losses(lrs):
        return 1.2 - 0.4 / (1 + 1e-3 / lrs) + np.where(lrs > 0.5, 5.0, 0.0)

    found = [find_zones(synthetic(losses, exponential(), 0.35, seed=seed)).falling for seed in range(20)]
    assert sum(falling is not None for falling in found) >= 12
    assert all(1e-6 < falling.low < falling.high < 0.6 for falling in found if falling is not None)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_falling_zone_ends_where_the_loss_first_rises_for_certain(noise):
    """The descent behind an instability is the way back from it, though it goes lower."""
    zones = find_zones(synthetic(unstable, exponential(), noise))
    assert zones.falling.low < 2.5e-3 < zones.falling.high < zones.limit < 0.17
    assert (zones.rising.low, zones.hints) == (zones.falling.high, ())


def test_a_loss_that_comes_back_from_its_first_update_does_not_fall():
    """An update that was too large lifts it above the untrained loss, to which it only returns."""
    growth = exponential(low=1.0)
    losses = 1.4 + np.geomspace(2.0, 1e-3, 200) + 0.02 * np.random.default_rng(0).standard_normal(200)
    zones = find_zones(RangeTest("digits-mlp", growth, (lane_curve(0, 1.4, losses.tolist()),)))
    assert zones.falling is None
    assert "begin lower" in zones.hints[0]


def test_a_lane_that_diverges_shows_a_rising_zone():
    """Even if every finite loss was lower than the one before."""

    def losses(lrs):
        return np.where(lrs < 0.1, 2.3 - 1.5 / (1 + (1e-2 / lrs) ** 2), np.nan)

    zones = find_zones(synthetic(losses, exponential()))
    assert zones.rising is not None
    assert zones.falling.high <= zones.limit <= 0.12


@pytest.mark.parametrize("kind", GROWTHS)
def test_a_negative_loss_has_zones_like_any_other(kind):
    """A log-likelihood of a density, say."""
    low = 1e-6 if kind != LINEAR else 1e-2
    growth = Growth(kind, low, 10.0, 300)
    high = find_zones(synthetic(Valley(fall=0.1, rise=2.0).losses, growth, 0.05))
    deep = find_zones(synthetic(Valley(-5.0, -7.0, fall=0.1, rise=2.0).losses, growth, 0.05))
    assert deep.falling.low == pytest.approx(high.falling.low, rel=0.1)
    assert deep.falling.high == pytest.approx(high.falling.high, rel=0.1)


def test_a_zoom_covers_the_falling_zone_more_slowly():
    """In as many steps, and no further than the whole test went."""
    test = synthetic(Valley().losses, exponential(), 0.1)
    zones, growth = find_zones(test), zoomed(test)
    assert growth.low < zones.falling.low < zones.falling.high < growth.high
    assert growth.steps == test.growth.steps
    assert growth.doubling_period > 1.5 * test.growth.doubling_period
    again = find_zones(synthetic(Valley().losses, growth, 0.1))
    assert 1 / 2 < again.falling.low / zones.falling.low < 2
    assert 1 / 2 < again.falling.high / zones.falling.high < 2


def test_there_is_nothing_to_zoom_into_without_a_fall():
    """The error has the hint of the zones."""
    test = synthetic(lambda lrs: np.full(lrs.shape, 2.3), exponential(), 0.1)
    with pytest.raises(InputError, match=r"--zoom needs a falling zone .* never falls"):
        zoomed(test)
