"""A range test in words, and as lines of a study file that TOML reads."""

import tomllib

import pytest

from lrsearch.lr_range import (
    EXPONENTIAL,
    LINEAR,
    RULES,
    WIDENING,
    Growth,
    RangeTest,
    find_zones,
    lane_curve,
    suggestions,
)
from lrsearch.review.range_test_wording import growth_formula, range_test_lines, short, space_lines
from tests.review.range_tests import at_once, complete, flat


def test_the_sources_formulas_are_printed_with_their_numbers():
    """The d of linear growth, the doubling period of exponential growth."""
    linear = growth_formula(Growth(LINEAR, 1e-5, 1e-5 + 0.85, 17_000))
    assert linear == "lr = 1e-05 + 5e-05 i, 17000 steps to 0.85 (d = 5e-05)"
    exponential = growth_formula(Growth(EXPONENTIAL, 1e-5, 1e-5 * 2**17, 17_000))
    assert exponential == "lr = 1e-05 * 2^(i / 1000), 17000 steps to 1.311 (doubled every 1000 steps)"


def test_the_lines_name_zones_rules_consensus_spread_and_interval():
    """Each once, with the numbers of the findings."""
    test = complete()
    zones, suggested = find_zones(test), suggestions(test)
    lines = {line[:14].strip(): line[14:] for line in range_test_lines(test)}
    assert list(lines) == ["range test", "growth", "seeds", "zones", *RULES, "consensus", "interval"]
    assert f"falling {short(zones.falling.low)} to {short(zones.falling.high)}" in lines["zones"]
    for rule in suggested.rules:
        assert lines[rule.rule].startswith(f"{short(rule.lr)} ")
    assert lines["consensus"].startswith(f"{short(suggested.lr)} ")
    assert lines["consensus"].endswith(f"within a factor of {suggested.spread:.2f}")
    assert lines["interval"] == f"{short(suggested.interval.low)} to {short(suggested.interval.high)}"


def test_seeds_that_diverged_are_counted():
    """With the step and the rate of the first."""
    growth = complete().growth
    [line] = [line for line in range_test_lines(complete()) if line.startswith("seeds")]
    assert line.endswith(f"diverged, the first after 108 steps at lr {short(growth.lrs()[108])}")
    assert "none diverged" in "\n".join(range_test_lines(flat()))
    assert "1 diverged, the first after 0 steps at lr 1e-06" in "\n".join(range_test_lines(at_once()))


def test_a_test_without_a_fall_says_so_and_suggests_nothing():
    """The hint is the last line; there are no lines for a study file."""
    lines = range_test_lines(flat())
    assert lines[-2] == "suggestion    none"
    assert lines[-1].startswith("hint          the loss never falls")
    assert space_lines(flat()) == []


@pytest.mark.parametrize("test", [complete(), complete(LINEAR, 1e-3, 400)])
def test_the_lines_of_a_study_file_are_toml(test):
    """Floats in two digits: the widened interval as bounds, the interval and the rates for first trials."""
    suggested = suggestions(test)
    content = tomllib.loads("\n".join(space_lines(test)))
    lr, found = content["space"]["lr"], content["range_test"]
    assert lr["log"] is True
    assert lr["low"] == pytest.approx(suggested.interval.low / WIDENING, rel=0.06)
    assert lr["high"] == pytest.approx(suggested.interval.high * WIDENING, rel=0.06)
    assert found["low"] == pytest.approx(suggested.interval.low, rel=0.06)
    assert found["high"] == pytest.approx(suggested.interval.high, rel=0.06)
    assert found["lrs"][0] == pytest.approx(suggested.lr, rel=0.06)
    assert len(set(found["lrs"])) == len(found["lrs"]) <= 1 + len(RULES)
    numbers = [lr["low"], lr["high"], found["low"], found["high"], *found["lrs"]]
    assert all(isinstance(number, float) and float(short(number)) == number for number in numbers)


def test_bounds_are_widened_by_the_factor_that_is_asked_for():
    """A factor of 1 leaves the interval."""
    content = tomllib.loads("\n".join(space_lines(complete(), widening=1.0)))
    assert content["space"]["lr"]["low"] == content["range_test"]["low"]
    assert content["space"]["lr"]["high"] == content["range_test"]["high"]


def test_a_seed_that_diverged_with_a_finite_loss_names_the_step_that_did_it():
    """Its loss is kept, so that the step is the last of the curve and not one more."""
    lane = lane_curve(0, 1.0, [*[1.0] * 30, 1e9])
    test = RangeTest("digits-mlp", Growth(EXPONENTIAL, 1e-6, 1.0, 50), (lane,))
    [line] = [line for line in range_test_lines(test) if line.startswith("seeds")]
    assert line.endswith(f"1 diverged, the first after 30 steps at lr {short(test.growth.lrs()[30])}")
