"""The samplers against Optuna's contract, against enumeration, and against themselves in other processes."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import get_args

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import TrialState

from benchmarks.samplers import compare, p_value, search
from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.parameters import Choice, Condition, Parameter, Point, Range, SearchSpace
from lrsearch.results import Outcome, TrialResult
from lrsearch.schedules import Hyperparameters
from lrsearch.search.flat_space import FlatSpace
from lrsearch.search.samplers import (
    DIVERGED_ATTRIBUTE,
    SAMPLERS,
    SLOT_ATTRIBUTE,
    CoarseToFineSampler,
    GeneticSampler,
    GridSampler,
    ParticleSwarmSampler,
    PointSampler,
    QuasiRandomSampler,
    create_sampler,
    grid_size,
)
from lrsearch.search.samplers.coarse_to_fine import magnitudes
from lrsearch.search.samplers.history import attempts, rank, rank_of, ranked
from lrsearch.search.samplers.random_sampler import trial_seed
from lrsearch.search.space import suggest
from lrsearch.spec.study_spec import SamplerName
from tests.search.spaces import DEFAULT_KINDS, LR_ONLY, REAL_SPACES, trees

FLAT = ("quasi-random", "coarse-to-fine", "genetic", "particle-swarm")
OWN = (*FLAT, "random", "tpe")
ENDLESS = tuple(name for name in SAMPLERS if name != "grid")
SEED = 7
N_TRIALS = 24


# --- Optuna's contract. GridSampler does not take part: it samples declared points, and only so many.


class TestQuasiRandomContract(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        """Return what makes a sampler that infers its space."""
        return lambda: QuasiRandomSampler(seed=SEED)


class TestCoarseToFineContract(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        """Return what makes a sampler that infers its space."""
        return lambda: CoarseToFineSampler(seed=SEED)


class TestGeneticContract(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        """Return what makes a sampler that infers its space, its budget small enough to leave the start."""
        return lambda: GeneticSampler(seed=SEED, n_trials=8)


class TestParticleSwarmContract(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        """Return what makes a sampler that infers its space, its budget small enough to leave the start."""
        return lambda: ParticleSwarmSampler(seed=SEED, n_trials=8)


class TestPointContract(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        """Return what makes a sampler that prescribes nothing."""
        return lambda: PointSampler(GeneticSampler(n_trials=8), {})


# --- A small search: its objective has a cliff, and stops and fails some trials.


def loss_of(point: Point) -> float:
    """Return a loss that falls with lr up to a cliff."""
    lr = float(point.get("lr", 0.1))
    return math.inf if lr > 0.7 else abs(math.log10(lr) + 1) + 0.1 * len(str(point.get("kind")))


def finish(study: optuna.Study, trial: optuna.Trial) -> None:
    """End a trial as a search would: complete, pruned, diverged or failed."""
    loss = loss_of(trial.params)
    if trial.number % 11 == 10:
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.report(loss + 1, 1)
    if not math.isfinite(loss):
        trial.set_user_attr(DIVERGED_ATTRIBUTE, True)
    if not math.isfinite(loss) or trial.number % 3 == 2:
        study.tell(trial, state=TrialState.PRUNED)
        return
    trial.report(loss, 2)
    study.tell(trial, loss)


def run(make: Callable[[int], optuna.samplers.BaseSampler], space: SearchSpace, n: int) -> optuna.Study:
    """Return a study of n trials, the sampler of each made from its index."""
    study = optuna.create_study()
    for index in range(n):
        study.sampler = make(index)
        trial = study.ask()
        suggest(trial, space)
        finish(study, trial)
    return study


def by_name(name: str, space: SearchSpace, n_trials: int = N_TRIALS):
    """Return what makes the sampler of a name for an index, as the search's loop does."""
    return lambda index: create_sampler(name, space, seed=SEED, index=index, n_trials=n_trials)


def propose(study: optuna.Study, sampler: optuna.samplers.BaseSampler, space: SearchSpace) -> Point:
    """Return the searched part of what a sampler proposes after a study's trials, which stay as they are."""
    copy = optuna.create_study(sampler=sampler)
    copy.add_trials(study.get_trials())
    trial = copy.ask()
    suggest(trial, space)
    return trial.params


def study_of(*trials: dict) -> optuna.Study:
    """Return a study of ready trials: lr, and keyword arguments of ``optuna.create_trial``."""
    study = optuna.create_study()
    unit = FloatDistribution(1e-3, 1.0, log=True)
    for trial in trials:
        rest = {key: value for key, value in trial.items() if key != "lr"}
        study.add_trial(optuna.create_trial(params={"lr": trial["lr"]}, distributions={"lr": unit}, **rest))
    return study


@pytest.fixture(autouse=True)
def quiet():
    """Keep Optuna from logging every study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


# --- All samplers.


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("space", REAL_SPACES.values(), ids=REAL_SPACES)
def test_every_proposal_is_a_point_that_trains(name, space):
    """Whatever a study's trials ended as, what comes next is a valid point and means hyperparameters."""
    study = run(by_name(name, space), space, N_TRIALS)
    for trial in study.trials:
        whole = space.complete(trial.params)
        assert Hyperparameters.from_point(whole).lr == trial.params["lr"]


@pytest.mark.parametrize("name", OWN)
@settings(max_examples=15)
@given(space=trees())
def test_any_tree_can_be_sampled(name, space):
    """A sampler of our own finds valid points in any tree, conditions below conditions included."""
    lr = Parameter("lr", Range(1e-3, 1.0, log=True))
    space = SearchSpace((lr, *(each for each in space.parameters if each.name != "lr")))
    study = run(by_name(name, space, 12), space, 12)
    for trial in study.trials:
        assert space.searched_part(space.complete(trial.params)) == trial.params


@pytest.mark.parametrize("name", ENDLESS)
def test_a_proposal_depends_on_seed_and_index_alone(name):
    """After the same trials, each index has its own point, whatever was asked for before it."""
    history = run(by_name("random", DEFAULT_KINDS), DEFAULT_KINDS, 12)

    def points(indices):
        make = by_name(name, DEFAULT_KINDS)
        return {index: propose(history, make(index), DEFAULT_KINDS) for index in indices}

    forwards, backwards = points(range(12, 20)), points(reversed(range(12, 20)))
    assert forwards == backwards
    assert len({json.dumps(point) for point in forwards.values()}) == 8
    other = create_sampler(name, DEFAULT_KINDS, seed=SEED + 1, index=12, n_trials=N_TRIALS)
    assert propose(history, other, DEFAULT_KINDS) != forwards[12]


def proposals() -> dict[str, Point]:
    """Return what each sampler proposes after twelve trials."""
    history = run(by_name("random", DEFAULT_KINDS), DEFAULT_KINDS, 12)
    return {name: propose(history, by_name(name, DEFAULT_KINDS)(12), DEFAULT_KINDS) for name in ENDLESS}


def test_another_process_proposes_the_same():
    """A process with other hashes of texts draws the same points."""
    code = (
        "import json; from tests.search import test_samplers as t; t.optuna.logging.disable_default_handler()"
    )
    code += "; print(json.dumps(t.proposals()))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(proposals()))


@pytest.mark.parametrize("name", FLAT)
def test_two_samplers_in_turn_equal_one(name):
    """Nothing is kept in a process: one sampler, two in alternation and a new one per trial run the same."""
    kinds = {
        "quasi-random": QuasiRandomSampler,
        "coarse-to-fine": CoarseToFineSampler,
        "genetic": GeneticSampler,
        "particle-swarm": ParticleSwarmSampler,
    }
    budget = {"n_trials": N_TRIALS} if name in {"genetic", "particle-swarm"} else {}
    one, first, second = (kinds[name](DEFAULT_KINDS, seed=SEED, **budget) for _ in range(3))
    alone = run(lambda _index: one, DEFAULT_KINDS, N_TRIALS)
    in_turn = run(lambda index: (first, second)[index % 2], DEFAULT_KINDS, N_TRIALS)
    anew = run(by_name(name, DEFAULT_KINDS), DEFAULT_KINDS, N_TRIALS)
    assert [each.params for each in in_turn.trials] == [each.params for each in alone.trials]
    assert [each.params for each in anew.trials] == [each.params for each in alone.trials]


@pytest.mark.parametrize("name", OWN)
def test_a_study_keeps_only_what_was_suggested(name):
    """A sampler of our own writes nothing into the study's own attributes."""
    study = run(by_name(name, DEFAULT_KINDS), DEFAULT_KINDS, 12)
    assert study.user_attrs == {}
    assert all(each.system_attrs == {} for each in study.trials)


@pytest.mark.parametrize("name", OWN)
def test_many_lanes_get_different_points(name):
    """Asked many times before any trial ends, a sampler never proposes the same lr twice."""
    study = optuna.create_study()
    for index in range(40):
        study.sampler = create_sampler(name, DEFAULT_KINDS, seed=SEED, index=index, n_trials=40)
        suggest(study.ask(), DEFAULT_KINDS)
    assert len({each.params["lr"] for each in study.trials}) == 40


@pytest.mark.parametrize("name", ["genetic", "particle-swarm"])
def test_large_values_win_where_the_study_maximizes(name):
    """A study that maximizes is searched upwards: the later half of the trials is better than the first."""
    study = optuna.create_study(direction="maximize")
    for index in range(64):
        study.sampler = create_sampler(name, LR_ONLY, seed=SEED, index=index, n_trials=64)
        trial = study.ask()
        suggest(trial, LR_ONLY)
        study.tell(trial, -abs(math.log10(trial.params["lr"]) + 1))
    values = [each.value for each in study.trials]
    assert np.mean(values[32:]) > np.mean(values[:32]) + 0.2


def test_names_are_those_of_a_study_file():
    """The samplers' names are what a study file may say."""
    assert set(SAMPLERS) == set(get_args(SamplerName))


def test_an_unknown_name_is_refused():
    """A wrong name is refused with the nearest one."""
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'genetics'. Did you mean 'genetic'"):
        create_sampler("genetics", DEFAULT_KINDS, seed=0, index=0, n_trials=1)


def test_random_points_are_those_of_optunas_sampler():
    """With the same seed, Optuna's random sampler draws the same values, whatever the kind of parameter."""
    for index in range(20):
        sampler = optuna.samplers.RandomSampler(seed=trial_seed(SEED, index))
        theirs = propose(optuna.create_study(), sampler, DEFAULT_KINDS)
        ours = propose(optuna.create_study(), by_name("random", DEFAULT_KINDS)(index), DEFAULT_KINDS)
        assert ours == pytest.approx(theirs)


# --- The order of trials.


def test_trials_rank_by_outcome_then_epochs_then_loss():
    """Complete trials by value, then pruned ones by epochs and value, diverged last, whatever the order."""
    diverged = {DIVERGED_ATTRIBUTE: True}
    pruned = {"state": TrialState.PRUNED}
    good_to_bad = [
        {"value": 0.1},
        {"value": 3.0},
        {**pruned, "intermediate_values": {1: 0.9, 5: 0.8}},
        {**pruned, "intermediate_values": {1: 0.2, 5: 0.9}},
        {**pruned, "intermediate_values": {1: 0.01}},
        {**pruned},
        {**pruned, "intermediate_values": {1: 0.2, 4: math.inf}},
        {**pruned, "intermediate_values": {1: 0.2, 2: 0.1}, "user_attrs": diverged},
        {"value": math.inf, "intermediate_values": {1: math.nan}},
    ]
    lrs = [10 ** -(1 + place / 10) for place in range(len(good_to_bad))]
    trials = [{"lr": lr, **trial} for lr, trial in zip(lrs, good_to_bad, strict=True)]
    rng = np.random.default_rng(0)
    for order in [range(len(trials)), *(rng.permutation(len(trials)) for _ in range(5))]:
        study = study_of(*(trials[place] for place in order))
        seen = attempts(study, without=study.ask()._cached_frozen_trial)
        assert [each.params["lr"] for each in ranked(seen)] == lrs


@pytest.mark.parametrize(
    ("trial", "result"),
    [
        ({"value": 0.5, "intermediate_values": {4: 0.5}}, TrialResult(Outcome.COMPLETE, 0.5, 4)),
        (
            {"state": TrialState.PRUNED, "intermediate_values": {1: 0.9, 2: 0.7}},
            TrialResult(Outcome.PRUNED, 0.7, 2),
        ),
        ({"state": TrialState.PRUNED}, TrialResult(Outcome.PRUNED, None, 0)),
        (
            {"state": TrialState.PRUNED, "intermediate_values": {3: math.inf}},
            TrialResult(Outcome.PRUNED, math.inf, 3, diverged=True),
        ),
        ({"state": TrialState.FAIL}, TrialResult(Outcome.FAIL, None, 1, reason="memory")),
    ],
    ids=["complete", "pruned", "empty", "diverged", "failed"],
)
def test_our_result_ranks_as_optunas_trial(trial, result):
    """A sampler sees the same in our slots as in Optuna's study."""
    [stored] = study_of({"lr": 0.1, **trial}).trials
    assert rank_of(result) == rank(stored)


def test_running_and_failed_trials_have_no_rank():
    """A trial that runs or failed is seen, for its place was tried, but is neither good nor bad."""
    study = study_of({"lr": 0.1, "value": 1.0}, {"lr": 0.2, "state": TrialState.FAIL})
    running, asked = study.ask(), study.ask()
    running.suggest_float("lr", 1e-3, 1.0, log=True)
    seen = attempts(study, without=asked._cached_frozen_trial)
    assert [each.rank is None for each in seen] == [False, True, True]
    assert [each.params["lr"] for each in ranked(seen)] == [0.1]


def test_slots_order_the_history():
    """Where trials carry their slot, that is their index; otherwise their number is."""
    study = study_of(
        {"lr": 0.1, "value": 1.0, "user_attrs": {SLOT_ATTRIBUTE: 2}},
        {"lr": 0.2, "value": 1.0},
        {"lr": 0.3, "value": 1.0, "user_attrs": {SLOT_ATTRIBUTE: 0}},
    )
    seen = attempts(study, without=study.ask()._cached_frozen_trial)
    assert [(each.index, each.params["lr"]) for each in seen] == [(0, 0.3), (1, 0.2), (2, 0.1)]


# --- Grid.


def enumerate_points(space: SearchSpace, point: Point, place: int = 0) -> list[Point]:
    """Return all points of a finite tree, the plain way."""
    if place == len(space.parameters):
        return [point]
    parameter = space.parameters[place]
    if not parameter.exists_in(point):
        return enumerate_points(space, point, place + 1)
    values = (parameter.domain,) if parameter.fixed else parameter.domain.grid()
    return [
        found
        for value in values
        for found in enumerate_points(space, {**point, parameter.name: value}, place + 1)
    ]


def lists() -> st.SearchStrategy:
    """Draw domains of few values: lists, ranges with points, whole numbers, fixed ones."""
    return st.one_of(
        st.sampled_from([Choice((1, 2)), Choice(("a", "b", "c")), Range(1, 3, integer=True), 0.5]),
        st.integers(1, 3).map(lambda points: Range(0.1, 10.0, log=True, points=points)),
    )


@settings(max_examples=60)
@given(trees(lists()))
def test_a_grid_has_every_point_once(space):
    """The points at all indices are those of plain enumeration, in its order, and no more."""
    expected = enumerate_points(space, {})
    assert grid_size(space) == len(expected)
    study = optuna.create_study()
    for index, point in enumerate(expected[:50]):
        study.sampler = GridSampler(space, index=index)
        assert suggest(study.ask(), space) == point
    study.sampler = GridSampler(space, index=len(expected))
    if space.searched:
        with pytest.raises(SpecError, match=f"the grid has {len(expected)} points, but trial"):
            suggest(study.ask(), space)


def test_a_huge_grid_is_counted_without_being_listed():
    """Twenty lists of ten values have 10^20 points, any of which is found at once."""
    space = SearchSpace(tuple(Parameter(f"x{i:02}", Choice(tuple(range(10)))) for i in range(20)))
    study = optuna.create_study(sampler=GridSampler(space, index=1234))
    assert list(suggest(study.ask(), space).values())[-4:] == [1, 2, 3, 4]
    assert grid_size(space) == 10**20


def test_a_range_without_points_has_no_grid():
    """A range that lists no values is refused by name."""
    with pytest.raises(SpecError, match=r"lr: a grid needs a list of values, or points = n"):
        create_sampler("grid", LR_ONLY, seed=0, index=0, n_trials=1)


def test_a_budget_above_the_grid_is_refused():
    """More trials than points are refused, saying how many there are."""
    space = SearchSpace((Parameter("lr", Choice((0.1, 0.2, 0.3))),))
    assert create_sampler("grid", space, seed=0, index=2, n_trials=3)
    with pytest.raises(SpecError, match="the grid has 3 points, but trials = 4; set trials = 3 or less"):
        create_sampler("grid", space, seed=0, index=0, n_trials=4)


def test_a_grid_in_a_plain_study_follows_the_trials():
    """Without an index, a plain Optuna study walks through the grid and stops at its end."""
    space = SearchSpace((Parameter("x", Choice((1, 2))), Parameter("y", Choice(("a", "b")))))
    study = optuna.create_study(sampler=GridSampler(space))
    study.optimize(lambda trial: float(suggest(trial, space)["x"]), n_trials=4)
    assert [tuple(each.params.values()) for each in study.trials] == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    with pytest.raises(SpecError, match="the grid has 4 points, but trial 5"):
        study.optimize(lambda trial: float(suggest(trial, space)["x"]), n_trials=1)


def test_a_grid_knows_no_other_parameters():
    """A parameter outside the grid's space is refused with the nearest name."""
    study = optuna.create_study(sampler=GridSampler(SearchSpace((Parameter("gamma", Choice((1, 2))),))))
    with pytest.raises(SpecError, match=r"gama is not in the sampler's space. Did you mean 'gamma'"):
        study.ask().suggest_float("gama", 0, 1)


# --- Quasi-random.


def test_quasi_random_points_are_even():
    """64 points lie in 64 equal parts of each parameter's range, and take 4 kinds 16 times each."""
    space = SearchSpace(
        (
            Parameter("lr", Range(1e-3, 1.0, log=True)),
            Parameter("kind", Choice((0, 1, 2, 3))),
            *(Parameter(f"{kind}.x", Range(0, 1), Condition("kind", frozenset({kind}))) for kind in range(4)),
        )
    )
    trials = run(by_name("quasi-random", space), space, 64).trials
    parts = Counter(int(64 * space.parameters[0].domain.position(each.params["lr"])) for each in trials)
    knobs = Counter(int(64 * each.params[f"{each.params['kind']}.x"]) for each in trials)
    assert parts == dict.fromkeys(range(64), 1)
    assert knobs == dict.fromkeys(range(64), 1)
    assert Counter(each.params["kind"] for each in trials) == dict.fromkeys(range(4), 16)


def test_kinds_learn_from_the_same_coordinates():
    """With another kind prescribed, the same index has the same place on the shared coordinates."""
    flat = FlatSpace(DEFAULT_KINDS)
    vectors = []
    for kind in ("StepLR", "ReduceLROnPlateau"):
        sampler = create_sampler(
            "quasi-random", DEFAULT_KINDS, seed=SEED, index=5, n_trials=8, point={"kind": kind}
        )
        vectors.append(flat.encode(propose(optuna.create_study(), sampler, DEFAULT_KINDS)))
    assert vectors[0][flat.coordinate("StepLR.step_fraction")] == pytest.approx(
        vectors[1][flat.coordinate("ReduceLROnPlateau.factor")]
    )


# --- Coarse to fine.


def path(loss: Callable[[float], float], n: int, lr: Range) -> list[float]:
    """Return the learning rates that the scan tries, one after the other."""
    space = SearchSpace((Parameter("lr", lr), Parameter("momentum", Range(0.0, 0.9))))
    study = optuna.create_study()
    for index in range(n):
        study.sampler = CoarseToFineSampler(space, seed=SEED, index=index)
        trial = study.ask()
        value = loss(suggest(trial, space)["lr"])
        trial.report(value, 1)
        if math.isfinite(value):
            study.tell(trial, value)
        else:
            study.tell(trial, state=TrialState.PRUNED)
    assert len({each.params["momentum"] for each in study.trials}) == n
    return [each.params["lr"] for each in study.trials]


def test_the_scan_climbs_to_the_edge_of_a_cliff():
    """Below a cliff faster is better: magnitudes, then up where slow and down where diverged, by halves."""
    cliff = 0.37
    lrs = path(lambda lr: -math.log10(lr) if lr < cliff else math.inf, 16, Range(1e-3, 1.0, log=True))
    exponents = np.log10(lrs)
    assert exponents[:8] == pytest.approx([-3, -2, -1, 0, -0.5, -0.25, -0.75, -0.375])
    stable = [lr for lr in lrs if lr < cliff]
    assert max(stable) == pytest.approx(cliff, rel=0.05)


def test_the_scan_halves_the_interval_around_the_best():
    """Around a valley between magnitudes, the best lr comes closer and closer."""
    lrs = path(lambda lr: abs(math.log10(lr) + 1.4), 24, Range(1e-5, 10.0, log=True))
    assert lrs[:7] == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
    assert min(abs(math.log10(lr) + 1.4) for lr in lrs) < 0.01


def test_the_scan_goes_down_as_long_as_everything_diverges():
    """If all magnitudes diverge, ever smaller learning rates follow."""
    lrs = path(lambda lr: 0.0 if lr < 2e-3 else math.inf, 6, Range(1e-3, 1.0, log=True))
    assert lrs[:4] == pytest.approx([1e-3, 1e-2, 1e-1, 1.0])
    lrs = path(lambda _lr: math.inf, 6, Range(5e-4, 1.0, log=True))
    assert lrs[4] == pytest.approx(math.sqrt(5e-4 * 1e-3))
    assert lrs[5] < lrs[4]


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        (Range(1e-3, 5.0, log=True), [1e-3, 1e-2, 1e-1, 1.0]),
        (Range(2e-3, 0.5, log=True), [1e-2, 1e-1]),
        (Range(0.001, 1.0), [1e-3, 1e-2, 1e-1, 1.0]),
        (Range(0.02, 0.08, log=True), [0.02, 0.04, 0.08]),
        (Range(0.0, 0.2), [0.0, 0.1, 0.2]),
    ],
)
def test_magnitudes_are_powers_of_ten(lr, expected):
    """The scan begins with the powers of ten within the bounds, or with three values if there are too few."""
    assert magnitudes(lr) == pytest.approx(expected)


@pytest.mark.parametrize("lr", [0.1, Choice((0.1, 0.2))])
def test_a_scan_needs_a_range(lr):
    """A fixed or listed learning rate cannot be refined, and is refused."""
    with pytest.raises(SpecError, match="coarse-to-fine scans a range of learning rates"):
        CoarseToFineSampler(SearchSpace((Parameter("lr", lr), Parameter("momentum", Range(0, 1)))))


# --- Genetic and particle swarm.


@pytest.mark.parametrize("name", ["genetic", "particle-swarm"])
def test_populations_begin_quasi_random(name):
    """The first points, as many as the population has members, are those of the quasi-random sampler."""
    sampler = by_name(name, DEFAULT_KINDS, 64)(0)
    size = sampler.population_size if name == "genetic" else sampler.swarm_size
    begun, even = (
        run(by_name(each, DEFAULT_KINDS, 64), DEFAULT_KINDS, size + 1) for each in (name, "quasi-random")
    )
    assert [each.params for each in begun.trials[:size]] == [each.params for each in even.trials[:size]]
    assert begun.trials[size].params != even.trials[size].params


@pytest.mark.parametrize(("n_trials", "size"), [(1, 4), (64, 11), (10_000, 40)])
def test_a_population_is_derived_from_the_budget(n_trials, size):
    """A larger budget has a larger population, within bounds."""
    assert GeneticSampler(n_trials=n_trials).population_size == size


@pytest.mark.parametrize(("n_trials", "size"), [(1, 4), (64, 13), (10_000, 40)])
def test_a_swarm_is_derived_from_the_budget(n_trials, size):
    """A larger budget has a larger swarm, within bounds."""
    assert ParticleSwarmSampler(n_trials=n_trials).swarm_size == size


def test_children_resemble_good_parents():
    """Late in a search, children lie near the best trials, not near pruned ones or those that diverged."""
    good = [{"lr": 0.1 * 1.01**i, "value": 1.0} for i in range(6)]
    pruned = [
        {"lr": 1e-3, "state": TrialState.PRUNED, "intermediate_values": {1: 0.5}},
        {"lr": 1.0, "state": TrialState.PRUNED, "user_attrs": {DIVERGED_ATTRIBUTE: True}},
    ] * 5
    study = study_of(*good, *pruned)
    for index in range(30, 36):
        sampler = GeneticSampler(LR_ONLY, seed=SEED, index=index, n_trials=36)
        assert propose(study, sampler, LR_ONLY)["lr"] == pytest.approx(0.1, rel=0.8)


def test_a_particle_flies_on_and_is_pulled_back():
    """Far from both bests, a particle moves on by inertia, and towards them."""
    rising = [
        {"lr": lr, "value": value} for lr, value in [(1e-3, 0.5), (1e-3, 0.5), (1e-3, 0.5), (1e-2, 0.1)]
    ]
    study = study_of(*rising, {"lr": 2e-3, "value": 0.4})
    lrs = [
        propose(study, ParticleSwarmSampler(LR_ONLY, seed=seed, index=8, n_trials=8), LR_ONLY)["lr"]
        for seed in range(10)
    ]
    assert all(lr > 2e-3 for lr in lrs)
    assert len(set(lrs)) > 1


def test_no_kind_is_lost_for_good():
    """Even when every trial so far had one kind, the others are still proposed now and then."""
    history = optuna.create_study()
    only = create_sampler("quasi-random", DEFAULT_KINDS, seed=0, index=0, n_trials=64, point={"kind": "WSD"})
    history.sampler = only
    for _ in range(12):
        trial = history.ask()
        suggest(trial, DEFAULT_KINDS)
        history.tell(trial, 1.0)
    for name in ("genetic", "particle-swarm"):
        make = by_name(name, DEFAULT_KINDS, 64)
        kinds = Counter(propose(history, make(index), DEFAULT_KINDS)["kind"] for index in range(12, 52))
        assert len(kinds) > 2
        assert kinds["WSD"] > 20


# --- Prescribed points.


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize(
    "part", [{"lr": 0.25}, {"kind": "OneCycleLR"}, {"kind": "StepLR", "StepLR.gamma": 0.5, "momentum": 0.0}]
)
def test_a_prescribed_part_is_kept_and_completed(name, part):
    """The prescribed values stand, and the sampler gives the rest, knobs of a prescribed kind included."""
    history = run(by_name("random", DEFAULT_KINDS), DEFAULT_KINDS, 14)
    sampler = create_sampler(name, DEFAULT_KINDS, seed=SEED, index=14, n_trials=20, point=part)
    point = propose(history, sampler, DEFAULT_KINDS)
    assert {key: point[key] for key in part} == part
    assert DEFAULT_KINDS.searched_part(DEFAULT_KINDS.complete(point)) == point


@pytest.mark.parametrize("name", ENDLESS)
def test_a_whole_point_is_taken_as_it_is(name):
    """A complete point, fixed values included, comes out unchanged."""
    given_point = {"lr": 0.1, "kind": "WSD", "WSD.decay_fraction": 0.2, "warmup": False, "momentum": 0.9}
    whole = DEFAULT_KINDS.complete(given_point)
    sampler = create_sampler(name, DEFAULT_KINDS, seed=SEED, index=0, n_trials=20, point=whole)
    assert propose(optuna.create_study(), sampler, DEFAULT_KINDS) == given_point


def test_a_grid_completes_a_prescribed_kind():
    """Beside a prescribed kind, a grid gives that kind's knobs from their lists."""
    space = SearchSpace(
        (
            Parameter("kind", Choice(("a", "b"))),
            Parameter("a.x", Choice((1, 2)), Condition("kind", frozenset({"a"}))),
            Parameter("b.y", Range(0.0, 1.0, points=3), Condition("kind", frozenset({"b"}))),
        )
    )
    sampler = create_sampler("grid", space, seed=SEED, index=0, n_trials=5, point={"kind": "b"})
    assert propose(optuna.create_study(), sampler, space)["b.y"] in {0.0, 0.5, 1.0}


def test_an_impossible_point_is_refused():
    """A prescribed part outside the space is refused before anything is asked."""
    with pytest.raises(SpecError, match=r"WSD.decay_fraction exists only where kind is WSD"):
        create_sampler(
            "genetic", DEFAULT_KINDS, seed=0, index=0, n_trials=8, point={"WSD.decay_fraction": 0.2}
        )


# --- How well they search.


@pytest.mark.slow
def test_genetic_and_swarm_find_better_points_than_random():
    """On the benchmark's seeds, both end better than random search, and so does TPE (Wilcoxon, p < 0.05)."""
    found = compare(search, ["random", "genetic", "particle-swarm", "tpe"], range(100, 120), jobs=2)
    for name in ("genetic", "particle-swarm", "tpe"):
        assert p_value(found[name], found["random"]) < 0.05
