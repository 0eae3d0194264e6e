"""Ranges, choices and trees of parameters, and the same in Optuna's terms."""

import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import SpecError
from lrsearch.parameters import Choice, Condition, Parameter, Range, SearchSpace, ZeroOr
from lrsearch.schedules import KINDS, Hyperparameters
from lrsearch.search.space import distribution, distributions, domain_of, suggest
from tests.search.spaces import ALL_KINDS, DEFAULT_KINDS, choices, points, ranges, trees

searched = st.one_of(ranges(), choices())
positions = st.floats(0, 1)


@settings(max_examples=300)
@given(ranges(), positions)
def test_a_value_comes_back_from_its_position(domain, position):
    """``at`` inverts ``position`` for every value of a range, exactly for whole numbers."""
    value = domain.at(position)
    again = domain.at(domain.position(value))
    assert type(again) is type(value) is (int if domain.integer else float)
    assert again == (value if domain.integer else pytest.approx(value, rel=1e-9, abs=1e-9))


@settings(max_examples=300)
@given(searched, positions, positions)
def test_positions_reach_the_whole_domain_and_nothing_else(domain, one, other):
    """Every position gives a value of the domain, in the domain's order; 0 and 1 give its ends."""
    assert domain.contains(domain.at(one))
    if isinstance(domain, Range):
        assert domain.at(0.0) == pytest.approx(domain.low)
        assert domain.at(1.0) == pytest.approx(domain.high)
        assert (domain.at(min(one, other)) <= domain.at(max(one, other))) is True
    else:
        assert domain.at(0.0) == domain.options[0]
        assert domain.at(1.0) == domain.options[-1]


@pytest.mark.parametrize(("log", "shares"), [(False, [0.25] * 4), (True, [0.5, 0.232, 0.153, 0.114])])
def test_whole_numbers_share_the_positions(log, shares):
    """Whole numbers have equal parts; on a log scale, the part between the logarithms of their bounds."""
    domain = Range(1, 4, log, integer=True)
    if log:
        edges = np.log(np.arange(0.5, 5.0))
        shares = np.diff(edges) / (edges[-1] - edges[0])
    values = [domain.at(position) for position in (np.arange(10_000) + 0.5) / 10_000]
    assert [values.count(n) / 10_000 for n in range(1, 5)] == pytest.approx(list(shares), abs=2e-4)


def test_equal_ratios_are_equal_distances_on_a_log_scale():
    """Half-way on a log scale lies the geometric mean."""
    assert Range(1e-3, 10.0, log=True).at(0.5) == pytest.approx(0.1)
    assert Range(0.0, 10.0).at(0.5) == 5.0


@given(ranges(), st.integers(1, 9))
def test_a_grid_lists_different_values_of_the_range(domain, points):
    """A grid's values lie in the range, in order, each once, at most as many as asked for."""
    values = Range(domain.low, domain.high, domain.log, domain.integer, points).grid()
    assert 1 <= len(values) <= points
    assert all(domain.contains(value) for value in values)
    assert list(values) == sorted(set(values))
    if domain.low < domain.high and points > 1:
        assert (values[0], values[-1]) == pytest.approx((domain.low, domain.high))


def test_a_grid_is_evenly_spaced_on_its_scale():
    """Grid values are log-spaced where the range is; whole numbers are all listed unless told otherwise."""
    assert Range(1e-3, 1.0, log=True, points=4).grid() == pytest.approx((1e-3, 1e-2, 1e-1, 1.0))
    assert Range(0.0, 1.0, points=3).grid() == (0.0, 0.5, 1.0)
    assert Range(2, 5, integer=True).grid() == (2, 3, 4, 5)
    assert Choice(("a", "b")).grid() == ("a", "b")
    with pytest.raises(SpecError, match="points = n"):
        Range(0.0, 1.0).grid()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "low <= high must hold, but got low = 2.0, high = 1.0"),
        ({"low": math.nan, "high": 1.0}, "finite"),
        ({"low": 0.0, "high": math.inf}, "finite"),
        ({"low": 0.0, "high": 1.0, "log": True}, "needs low > 0, but got low = 0.0"),
        ({"low": 0.5, "high": 3, "integer": True}, "whole bounds, but got low = 0.5"),
        ({"low": 0.0, "high": 1.0, "points": 0}, "points must be at least 1, but got 0"),
    ],
)
def test_a_range_that_breaks_a_rule_is_refused(arguments, message):
    """Reversed, infinite, non-positive or broken bounds are refused with the rule and the value."""
    with pytest.raises(SpecError, match=message):
        Range(**arguments)


@pytest.mark.parametrize(("options", "message"), [((), "at least one value"), ((1, 1), "must differ")])
def test_a_choice_that_breaks_a_rule_is_refused(options, message):
    """An empty choice and a repeated value are refused."""
    with pytest.raises(SpecError, match=message):
        Choice(options)


def test_flags_and_texts_are_no_numbers():
    """A range contains neither True nor a text, and one of whole numbers no fraction."""
    assert not Range(0, 1).contains(True)
    assert not Range(0, 1).contains("1")
    assert not Range(0, 2, integer=True).contains(1.5)
    assert Range(0, 2, integer=True).contains(1.0)


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Range(1e-3, 5.0, log=True), "0.001..5, log scale"),
        (Range(1, 8, integer=True), "1..8, whole numbers"),
        (Choice(("cos", "linear")), "cos | linear"),
        (ZeroOr(Range(0.05, 0.2)), "0 or 0.05..0.2"),
        (Condition("kind", frozenset({"WSD", "StepLR"})), "kind is StepLR or WSD"),
    ],
)
def test_domains_read_as_people_write_them(domain, text):
    """Domains and conditions are shown in words, for errors and for tables."""
    assert str(domain) == text


@given(searched, positions)
def test_optuna_knows_the_same_values(domain, position):
    """Optuna's distribution contains every value of the domain, and gives it back from what it stores."""
    theirs = distribution(domain)
    value = domain.at(position)
    stored = theirs.to_internal_repr(value)
    assert theirs._contains(stored)
    assert theirs.to_external_repr(stored) == value


@settings(max_examples=60)
@given(trees(), st.integers(0, 2**32 - 1))
def test_a_suggested_point_is_a_point_of_the_space(space, seed):
    """Optuna stores exactly the searched part of the whole point that comes back, under canonical names."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    trial = study.ask()
    point = suggest(trial, space)
    assert trial.params == space.searched_part(point)
    assert space.complete(trial.params) == point
    assert trial.distributions.items() <= distributions(space).items()


@given(st.data())
def test_a_point_has_exactly_the_parameters_whose_conditions_hold(data):
    """A parameter stands in a whole point if and only if it has no condition, or its condition holds."""
    space = data.draw(trees())
    point = data.draw(points(space))
    for parameter in space.parameters:
        condition = parameter.condition
        holds = condition is None or point.get(condition.parent, None) in condition.values
        exists = condition is None or (condition.parent in point and holds)
        assert (parameter.name in point) == exists


@given(st.data())
def test_every_part_of_a_point_with_its_parents_is_a_part(data):
    """A part of a valid point is accepted as soon as it holds the parents of all that it holds."""
    space = data.draw(trees())
    point = data.draw(points(space))
    chosen = data.draw(st.sets(st.sampled_from(sorted(point))))
    for parameter in reversed(space.parameters):
        if parameter.name in chosen and parameter.condition is not None:
            chosen.add(parameter.condition.parent)
    space.check_part({name: point[name] for name in chosen})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 9.0}, r"lr must lie within 0.001..5, log scale, but got 9.0"),
        ({"kind": "StepLR"}, r"StepLR.step_fraction is missing"),
        ({"OneCycleLR.pct_start": 0.3}, "OneCycleLR.pct_start does not exist beside"),
        ({"weight_decay": 0.5}, "weight_decay is fixed to 0.0 in this study, but got 0.5"),
    ],
)
def test_an_invalid_point_is_refused(change, message):
    """A point with a value that is foreign, missing, unfitting or fixed is refused, naming the parameter."""
    point = {"lr": 0.1, "kind": "WSD", "WSD.decay_fraction": 0.2, "warmup": False, "momentum": 0.9}
    assert DEFAULT_KINDS.complete(point)["weight_decay"] == 0.0
    with pytest.raises(SpecError, match=message):
        DEFAULT_KINDS.complete({**point, **change})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"lr": 9.0}, r"lr must lie within 0.001..5, log scale, but got 9.0"),
        ({"leanring_rate": 0.1}, "unknown parameter 'leanring_rate'"),
        ({"warmup_fractoin": 0.1}, "Did you mean 'warmup_fraction'"),
        (
            {"WSD.decay_fraction": 0.2},
            "WSD.decay_fraction exists only where kind is WSD; give that value too",
        ),
        ({"kind": "StepLR", "WSD.decay_fraction": 0.2}, "exists only where kind is WSD"),
        ({"kind": "OneCycleLR", "warmup": True}, "warmup exists only where kind is"),
        ({"weight_decay": 0.5}, "weight_decay is fixed to 0.0 in this study, but got 0.5"),
    ],
)
def test_an_impossible_part_is_refused(part, message):
    """A part of a point that no whole point has is refused, naming the parameter and what it needs."""
    with pytest.raises(SpecError, match=message):
        DEFAULT_KINDS.check_part(part)


def test_a_fixed_parameter_has_no_domain():
    """Asking for the domain of a fixed parameter is a mistake of the caller."""
    with pytest.raises(TypeError, match="momentum is fixed"):
        domain_of(Parameter("momentum", 0.9))


@settings(max_examples=200)
@given(points(ALL_KINDS))
def test_every_point_of_a_study_trains(point):
    """A point of the space of all kinds means hyperparameters with exactly its knobs, and comes back."""
    hyperparameters = Hyperparameters.from_point(point)
    knobs = {name for name in point if name.startswith(f"{point['kind']}.")}
    assert {f"{hyperparameters.kind}.{name}" for name in hyperparameters.knobs} == knobs
    again = hyperparameters.to_point()
    assert {name: value for name, value in again.items() if name in point} == {
        name: value for name, value in point.items() if name != "warmup"
    }


def test_a_study_has_every_knob_of_its_kinds():
    """The tree of all kinds names each knob of each kind once, and its parents stand before it."""
    names = [parameter.name for parameter in ALL_KINDS.parameters]
    knobs = [f"{kind.name}.{knob.name}" for kind in KINDS.values() for knob in kind.knobs]
    assert sorted(name for name in names if "." in name) == sorted(knobs)
    assert len(set(names)) == len(names)
    for place, parameter in enumerate(ALL_KINDS.parameters):
        assert parameter.condition is None or parameter.condition.parent in names[:place]


def test_walking_asks_only_for_what_exists():
    """The tree asks once for every searched parameter that exists, parents first, and for no fixed one."""
    options = {"kind": Choice(("a", "b")), "a.x": Range(0, 1), "b.y": Range(0, 1)}
    conditions = {"a.x": Condition("kind", frozenset({"a"})), "b.y": Condition("kind", frozenset({"b"}))}
    parameters = (Parameter(name, domain, conditions.get(name)) for name, domain in options.items())
    space = SearchSpace((Parameter("seed", 1), *parameters))
    asked = []

    def choose(parameter: Parameter):
        asked.append(parameter.name)
        return domain_of(parameter).at(1.0)

    assert space.walk(choose) == {"seed": 1, "kind": "b", "b.y": 1.0}
    assert asked == ["kind", "b.y"]
