"""Well-known configurations, as a study's optimizer and groups allow them."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.search.baselines import (
    default_rate,
    linear_decay,
    one_cycle,
    rates_around,
    spread_rates,
    tutorial_recipe,
)
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from

LOG_RANGE = {"low": 1e-3, "high": 1.0, "log": True}


def study(**changes):
    """Return a resolved study of the digits."""
    return resolved(
        spec_from({"name": "s", "task": "digits-mlp", "trials": 8, "epochs": 12, **changes}, "test")
    )


def test_the_recipe_is_the_tutorials():
    """SGD at 0.1 without momentum, cut to a tenth, with a patience that can act."""
    point = tutorial_recipe(study(optimizer={"momentum": {"low": 0.0, "high": 0.9}}))
    assert (point.lr, point.kind, point.optimizer["momentum"]) == (0.1, "ReduceLROnPlateau", 0.0)
    assert (point.knobs["factor"], point.knobs["patience"]) == (0.1, 3)
    assert tutorial_recipe(study(epochs=30)).knobs["patience"] == 5


def test_a_searched_momentum_becomes_the_usual_one_where_it_may():
    """0.9 inside of the study's range, else PyTorch's default; a fixed one stays."""
    for domain, expected in (({"low": 0.0, "high": 0.95}, 0.9), ({"low": 0.0, "high": 0.5}, 0.0), (0.3, 0.3)):
        spec = study(optimizer={"momentum": domain})
        assert linear_decay(spec, 0.1).optimizer["momentum"] == expected


def test_nesterov_needs_momentum():
    """The recipe has none, and PyTorch refuses the pair."""
    spec = study(optimizer={"momentum": {"low": 0.1, "high": 0.9}, "nesterov": True})
    assert tutorial_recipe(spec).optimizer["nesterov"] is False
    assert linear_decay(spec, 0.1).optimizer["nesterov"] is True


def test_an_optimizers_other_knobs_are_what_the_study_fixes():
    """Or PyTorch's defaults."""
    spec = study(optimizer={"name": "AdamW", "beta1": 0.8, "weight_decay": {"low": 0.0, "high": 0.5}})
    point = default_rate(spec, 1e-3)
    assert (point.lr, point.kind) == (1e-3, "constant")
    assert (point.optimizer["beta1"], point.optimizer["weight_decay"]) == (0.8, 0.01)


def test_groups_are_kept_where_they_are_fixed():
    """What is searched per layer is no baseline's."""
    groups = {
        "0.*": {"lr_scale": {"low": 0.1, "high": 1.0}},
        "2.*": {"lr_scale": 0.5},
        "4.*": {"frozen": True},
    }
    point = linear_decay(study(groups={"layer_decay": {"low": 0.5, "high": 1.0}, **groups}), 0.1)
    assert (point.lr_scales, point.layer_decay, point.frozen) == ({"0.*": 1.0, "2.*": 0.5}, 1.0, ("4.*",))


def test_linear_decay_goes_to_zero_after_a_short_warm_up():
    """Five percent."""
    point = linear_decay(study(), 0.2)
    assert (point.kind, point.warmup_fraction, point.knobs["end_factor"]) == ("LinearLR", 0.05, 0.0)


def test_one_cycle_is_pytorchs():
    """Its default arguments, and the optimizer's values that the range test had."""
    point = one_cycle(study(), 0.2, {"momentum": 0.4})
    assert point.knobs.items() >= {"pct_start": 0.3, "div_factor": 25.0}.items()
    assert point.optimizer == {"momentum": 0.4}


@given(st.integers(1, 12))
def test_a_first_look_is_spread_over_the_range(count):
    """At equal ratios, none of them at an end."""
    rates = spread_rates(study(space={"lr": LOG_RANGE}), count)
    assert len(rates) == count
    assert min(rates) > 1e-3
    assert max(rates) < 1.0
    ratios = [math.log(b / a) for a, b in pairwise(rates)]
    assert ratios == pytest.approx([math.log(1000) / count] * (count - 1))


def test_rates_that_are_listed_or_fixed_are_taken_as_they_are():
    """No more than asked for."""
    assert spread_rates(study(space={"lr": [0.1, 0.3, 1.0]}), 3) == [0.1, 0.3, 1.0]
    listed = study(space={"lr": [1.0, 1e-4, 1e-3, 0.01, 0.1, 0.5]})
    assert spread_rates(listed, 3) == [1e-3, 0.1, 1.0]
    assert spread_rates(listed, 1) == [0.1]
    assert spread_rates(study(space={"lr": 0.1}), 5) == [0.1]


@given(st.integers(1, 8), st.integers(0, 7), st.integers(0, 9))
def test_a_second_look_lies_between_the_best_and_its_neighbours(tried, place, count):
    """New rates, so many as asked for, none beyond where the next was tried."""
    rates = spread_rates(study(space={"lr": LOG_RANGE}), tried)
    best = rates[min(place, tried - 1)]
    around = rates_around(best, rates, count)
    step = rates[1] / rates[0] if tried > 1 else 4.0
    assert len(set(around)) == count
    assert best not in around
    assert all(best / step < lr < best * step for lr in around)
