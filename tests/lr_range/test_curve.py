"""Curves: what is kept of the losses, and what smoothing makes of them."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import SpecError
from lrsearch.lr_range import (
    GROWTHS,
    Growth,
    LaneCurve,
    RangeTest,
    find_zones,
    lane_curve,
    suggestions,
)
from tests.lr_range.curves import exponential

finite = st.floats(-1e6, 1e6)


@settings(max_examples=50)
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
