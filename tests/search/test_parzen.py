"""The Parzen estimator against Optuna's, and what the sampler makes of it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights
from scipy.stats import kstest

from lrsearch.parameters import Choice, Condition, Parameter, Range, SearchSpace
from lrsearch.search.samplers import SAMPLERS, Attempt, TreeParzenSampler, Turn, proposing_sampler
from lrsearch.search.samplers.history import Rank
from lrsearch.search.samplers.parzen import Mixture, coordinates
from lrsearch.search.samplers.tree_parzen import MODELLED, groups, split
from lrsearch.search.space import distribution, domain_of
from tests.search.spaces import DEFAULT_KINDS, LR_ONLY, trees

DOMAINS = {
    "lr": Range(1e-3, 5.0, log=True),
    "momentum": Range(0.0, 0.95),
    "kind": Choice(("StepLR", "WSD", "constant")),
    "patience": Range(0, 6, integer=True),
    "width": Range(1, 40, log=True, integer=True),
}


def points(count, seed):
    """Return random points of all domains."""
    rng = np.random.default_rng(seed)
    return [{name: domain.at(rng.random()) for name, domain in DOMAINS.items()} for _ in range(count)]


def matrix(some):
    """Return the coordinates of points."""
    columns = [coordinates(domain, [point[name] for point in some]) for name, domain in DOMAINS.items()]
    return np.stack(columns, axis=1)


def mixture(some):
    """Return the mixture of points."""
    return Mixture.of(list(DOMAINS.values()), matrix(some))


def optunas(some):
    """Return Optuna's values of points, by name."""
    known = {name: distribution(domain) for name, domain in DOMAINS.items()}
    return {name: np.array([known[name].to_internal_repr(point[name]) for point in some]) for name in known}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 24, 25, 26, 300])
def test_the_density_is_optunas(count):
    """For any number of observations, all ratios of densities are those of Optuna's estimator."""
    seen, asked = points(count, seed=count), points(100, seed=1000)
    parameters = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)
    space = {name: distribution(domain) for name, domain in DOMAINS.items()}
    theirs = _ParzenEstimator(optunas(seen), space, parameters).log_pdf(optunas(asked))
    ours = mixture(seen).log_density(matrix(asked))
    assert ours - ours[0] == pytest.approx(theirs - theirs[0], abs=1e-8)


@pytest.mark.parametrize("name", ["lr", "momentum", "kind", "patience"])
def test_what_is_drawn_has_the_density(name):
    """Random points of one parameter follow its density, summed up over small parts."""
    domain = DOMAINS[name]
    seen = coordinates(domain, [point[name] for point in points(7, seed=3)])
    one = Mixture.of([domain], seen[:, None])
    drawn = one.sample(np.random.default_rng(0).random((4000, 2)))[:, 0]
    if name in {"kind", "patience"}:
        values = np.unique(drawn)
        share = np.exp(one.log_density(values[:, None]))
        found = np.array([(drawn == value).mean() for value in values])
        assert found == pytest.approx(share / share.sum(), abs=0.03)
    else:
        edges = np.linspace(0, 1, 2001)
        density = np.exp(one.log_density(edges[:, None]))
        distribution_function = np.cumsum(density) / density.sum()
        assert kstest(drawn, lambda x: np.interp(x, edges, distribution_function)).pvalue > 0.01


def test_a_further_kernel_lies_where_its_point_lies():
    """It is dense at the point itself, and its width is the wider gap beside it."""
    seen = np.array([[0.2], [0.5]])
    added = Mixture.beside([Range(0.0, 1.0)], np.array([0.4]), seen)
    x = np.linspace(0, 1, 101)[:, None]
    density = added.log_density(x)
    assert x[np.argmax(density), 0] == pytest.approx(0.4)
    assert density[40] - density[60] == pytest.approx(0.5)  # one deviation, which is 0.2


# --- The sampler.


def history(count, space=DEFAULT_KINDS, seed=0):
    """Return trials of random points, better near the middle of lr; every fifth failed or runs."""
    turns = [Turn(index) for index in range(count)]
    sampler = proposing_sampler("random", space, seed=seed, n_trials=count)
    found = sampler.propose(turns, [])
    known = [domain_of(each).position for each in space.searched if each.name == "lr"]
    losses = [(known[0](point["lr"]) - 0.5) ** 2 if known else 0.1 * i for i, point in enumerate(found)]
    ranks = [None if i % 5 == 4 else Rank(0, 0, loss) for i, loss in enumerate(losses)]
    return [Attempt(i, point, rank) for i, (point, rank) in enumerate(zip(found, ranks, strict=True))]


def test_one_refill_is_many_different_points():
    """Proposals that share a model differ, belong to the space, and gather where good trials are."""
    sampler = TreeParzenSampler(DEFAULT_KINDS, seed=0)
    proposed = sampler.propose([Turn(index) for index in range(100, 164)], history(100))
    assert len({json.dumps(point) for point in proposed}) == 64
    for point in proposed:
        assert DEFAULT_KINDS.searched_part(DEFAULT_KINDS.complete(point)) == point
    middle = math.sqrt(1e-3 * 5)
    distances = [abs(math.log(point["lr"] / middle)) for point in proposed]
    before = [abs(math.log(attempt.params["lr"] / middle)) for attempt in history(100)]
    assert np.median(distances) < 0.5 * np.median(before)


def test_the_proposals_of_a_refill_know_of_those_before():
    """Many at once spread further than as many that know only of the trials that have begun."""
    seen = history(60, LR_ONLY)
    sampler = TreeParzenSampler(LR_ONLY, seed=0)
    together = sampler.propose([Turn(index) for index in range(60, 100)], seen)
    alone = [sampler.propose([Turn(index)], seen)[0] for index in range(60, 100)]
    spread = [np.std([math.log10(point["lr"]) for point in each]) for each in (together, alone)]
    assert spread[0] > spread[1]
    assert together[0] == alone[0]


def test_a_point_depends_on_what_was_tried_not_on_who_asks():
    """Two samplers, asked for the same slots after the same trials, propose the same."""
    turns = [Turn(40), Turn(41, {"kind": "WSD"}), Turn(42)]
    one, other = (TreeParzenSampler(DEFAULT_KINDS, seed=3).propose(turns, history(40)) for _ in range(2))
    assert one == other
    assert one[1]["kind"] == "WSD"


def test_the_model_has_bounded_size():
    """The good trials are the best tenth, 25 at most and none that diverged; the others are the latest."""
    seen = history(3000)
    finished = [attempt for attempt in seen if attempt.rank is not None]
    good, poor = split(seen, finished)
    assert len(good) == 25
    assert len(poor) == MODELLED
    limit = max(attempt.rank for attempt in good)
    assert sum(attempt.rank <= limit for attempt in finished) == 25
    assert poor[-1].index >= 2998
    diverged = [Attempt(i, {"lr": 1.0}, Rank(2, -1, math.inf)) for i in range(20)]
    assert split(diverged, diverged)[0] == []


def test_parameters_of_one_condition_are_modelled_together():
    """A condition on a fixed parameter is none."""
    space = SearchSpace(
        (
            Parameter("a", Range(0.0, 1.0)),
            Parameter("kind", "x"),
            Parameter("x.b", Range(0.0, 1.0), Condition("kind", frozenset({"x"}))),
            Parameter("c", Choice((1, 2))),
            Parameter("d", Range(0.0, 1.0), Condition("c", frozenset({2}))),
        )
    )
    assert [[each.name for each in group.parameters] for group in groups(space)] == [["a", "x.b", "c"], ["d"]]


@settings(max_examples=25)
@given(space=trees(), count=st.integers(1, 20))
def test_any_tree_can_be_modelled(space, count):
    """Whatever the conditions, single values and whole numbers, each proposal is a point of the space."""
    seen = history(30, space)
    for point in TreeParzenSampler(space, seed=1).propose([Turn(30 + i) for i in range(count)], seen):
        assert space.searched_part(space.complete(point)) == point


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in {"grid", "tpe"}])
def test_many_turns_are_as_good_as_one_after_the_other(name):
    """Asked together, a sampler proposes what it would if each proposal were a running trial of the next."""
    seen = history(30)
    sampler = proposing_sampler(name, DEFAULT_KINDS, seed=2, n_trials=64)
    together = sampler.propose([Turn(index) for index in range(30, 40)], seen)
    one_by_one = []
    for index in range(30, 40):
        [point] = sampler.propose([Turn(index)], seen)
        one_by_one.append(point)
        seen = [*seen, Attempt(index, point, None)]
    assert together == one_by_one
