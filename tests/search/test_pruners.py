"""Pruners against sorting, against Optuna's own, and against the order of lanes."""

import math
from fractions import Fraction
from itertools import pairwise

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from lrsearch.errors import UnknownNameError
from lrsearch.search.pruners import (
    BEST_PART,
    LEAST_TRIALS,
    PRUNERS,
    REDUCTION_FACTOR,
    LeadersGoOn,
    MedianPruner,
    NoPruner,
    PercentilePruner,
    RungPruner,
    best_so_far,
    create_pruner,
    standings,
    successive_rungs,
)

EPOCHS = 10
distinct_losses = st.lists(st.floats(0, 10), min_size=2, max_size=64, unique=True)


def lockstep(losses: list[float], epoch: int) -> dict[int, dict[int, float]]:
    """Return the curves of trials that all stand at one epoch, with their latest losses given."""
    return {trial: dict.fromkeys(range(1, epoch + 1), loss) for trial, loss in enumerate(losses)}


@st.composite
def histories(draw) -> dict[int, dict[int, float]]:
    """Draw the curves of trials of different length."""
    curve = st.lists(st.floats(0, 10), min_size=1, max_size=EPOCHS)
    curves = draw(st.lists(curve, min_size=1, max_size=12))
    return {trial: dict(enumerate(values, start=1)) for trial, values in enumerate(curves)}


@given(histories(), st.sampled_from(PRUNERS), st.randoms())
def test_lane_order_cannot_matter(losses, name, random):
    """All lanes decided together are decided as each one alone, in whatever order they are given."""
    pruner = create_pruner(name, EPOCHS, 64, 0.0)
    together = pruner.decide(losses, set(losses))
    shuffled = dict(random.sample(list(losses.items()), len(losses)))
    assert pruner.decide(shuffled, list(shuffled)) == together
    assert {trial for trial in losses if pruner.decide(losses, {trial})} == together


@given(histories(), st.sampled_from(PRUNERS))
def test_a_better_trial_outlives_a_worse_one(losses, name):
    """Of two trials at one epoch with curves one below the other, the lower one is never stopped alone."""
    pruner = create_pruner(name, EPOCHS, 64, 0.0)
    stopped = pruner.decide(losses, set(losses))
    for one in stopped:
        for other in set(losses) - stopped:
            same_length = len(losses[one]) == len(losses[other])
            worse = same_length and all(losses[one][epoch] < loss for epoch, loss in losses[other].items())
            assert not worse


@given(histories(), st.sampled_from(PRUNERS))
def test_who_already_beats_all_complete_trials_goes_on(losses, name):
    """Nobody is stopped whose latest loss is below those with which all complete trials have ended."""
    ended = [curve[EPOCHS] for curve in losses.values() if EPOCHS in curve]
    stopped = create_pruner(name, EPOCHS, 64, 0.0).decide(losses, set(losses))
    assert all(list(losses[trial].values())[-1] >= min(ended) for trial in stopped if ended)


def test_a_leader_of_the_last_epochs_is_not_stopped_for_having_been_slow():
    """A trial that overtakes all complete ones late goes on, although others had been lower before."""
    complete = {trial: {**dict.fromkeys(range(1, EPOCHS), 0.1), EPOCHS: 0.3} for trial in range(20)}
    late = dict.fromkeys(range(1, EPOCHS), 0.2)
    pruner = create_pruner("percentile", EPOCHS, 64, 0.0)
    assert pruner.decide({**complete, 20: late}, {20}) == set()
    assert pruner.decide({**complete, 20: late | {EPOCHS - 1: 0.4}}, {20}) == {20}


@given(distinct_losses, st.sampled_from(successive_rungs(1, EPOCHS)))
def test_asha_lets_the_best_part_pass(losses, epoch):
    """On a rung, of trials in lockstep exactly the best part goes on, if twice its divisor have got there."""
    stopped = create_pruner("asha", EPOCHS, 64, 0.0).decide(lockstep(losses, epoch), range(len(losses)))
    judged = len(losses) >= 2 * REDUCTION_FACTOR
    passing = len(losses) // REDUCTION_FACTOR if judged else len(losses)
    best = sorted(range(len(losses)), key=losses.__getitem__)[:passing]
    assert set(range(len(losses))) - stopped == set(best)


@given(distinct_losses, st.integers(1, EPOCHS - 1))
def test_percentile_lets_a_shrinking_part_pass(losses, epoch):
    """Of trials in lockstep the best 0.4 (1 - x) go on, rounded up, at a fraction x of their epochs."""
    stopped = create_pruner("percentile", EPOCHS, 64, 0.0).decide(lockstep(losses, epoch), range(len(losses)))
    part = Fraction(BEST_PART).limit_denominator(100) * (EPOCHS - epoch) / EPOCHS
    passing = math.ceil(part * len(losses)) if len(losses) >= LEAST_TRIALS else len(losses)
    best = sorted(range(len(losses)), key=losses.__getitem__)[:passing]
    assert set(range(len(losses))) - stopped == set(best)


@given(distinct_losses, st.integers(0, 200))
def test_percentile_counts_stopped_trials_as_worse(losses, stopped_before):
    """Trials that were stopped earlier make room for those that have come further."""
    epoch, curves = 5, lockstep(losses, 5)
    earlier = {len(losses) + trial: {1: 11.0} for trial in range(stopped_before)}
    stopped = create_pruner("percentile", EPOCHS, 64, 0.0).decide({**curves, **earlier}, set(curves))
    passing = math.ceil(Fraction(2, 5) * (EPOCHS - epoch) / EPOCHS * (len(losses) + stopped_before))
    assert len(stopped) == (max(0, len(losses) - passing) if len(losses) >= LEAST_TRIALS else 0)


def test_percentile_forgives_a_restart():
    """A trial that was the best is not stopped because its loss has risen since, as a rung would do."""
    losses = {0: {1: 0.5, 2: 0.1, 3: 0.9}, **{trial: {1: 0.6, 2: 0.4, 3: 0.3} for trial in range(1, 20)}}
    assert create_pruner("percentile", EPOCHS, 64, 0.0).decide(losses, {0}) == set()
    assert RungPruner({3: 0.5}, LEAST_TRIALS).decide(losses, {0}) == {0}


@given(histories())
def test_best_so_far_never_rises_and_keeps_a_divergence(losses):
    """It is the lowest loss of all epochs up to each; an infinite last loss stays infinite."""
    diverged = {trial: {**curve, max(curve) + 1: math.inf} for trial, curve in losses.items()}
    for trial, lowest in best_so_far(diverged).items():
        assert lowest.pop(max(lowest)) == math.inf
        assert lowest == {e: min(losses[trial][k] for k in range(1, e + 1)) for e in losses[trial]}


@pytest.mark.parametrize("epochs", [2, 3, 10, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
def test_percentile_never_stops_the_best_and_spends_its_part(epochs, warmup):
    """Of 1000 trials whose ranks never change the best one comes to its end, with the epochs that are due."""
    pruner = create_pruner("percentile", epochs, 1000, warmup)
    losses: dict[int, dict[int, float]] = {trial: {} for trial in range(1000)}
    running, spent = set(losses), 0
    for epoch in range(1, epochs + 1):
        for trial in running:
            losses[trial][epoch] = float(trial)
        spent += len(running)
        running -= pruner.decide(losses, running)
    assert 0 in running
    first = max(1, math.ceil(warmup / 2 * epochs - 1e-9))
    assert spent / 1000 == pytest.approx(
        first + sum(BEST_PART * (1 - e / epochs) for e in range(first, epochs)), abs=0.001 * epochs
    )


@given(distinct_losses)
def test_first_epochs_finishes_an_eighth(losses):
    """Of a whole budget trained for one epoch in lockstep, the best eighth is finished."""
    trials = len(losses)
    stopped = create_pruner("first-epochs", EPOCHS, trials, 0.0).decide(lockstep(losses, 1), range(trials))
    best = sorted(range(trials), key=losses.__getitem__)[: max(1, round(trials / 8))]
    assert set(range(trials)) - stopped == set(best)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.floats(0, 10), min_size=5, max_size=5), min_size=1, max_size=9),
    st.lists(st.floats(0, 10), min_size=2, max_size=4),
)
def test_median_agrees_with_optuna(others, curve):
    """Where all other trials are complete, the median pruner decides as Optuna's does."""
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1))
    for values in others:
        reports = dict(enumerate(values, start=1))
        unit = FloatDistribution(0, 1)
        study.add_trial(
            optuna.create_trial(
                value=values[-1], params={"x": 0.5}, distributions={"x": unit}, intermediate_values=reports
            )
        )
    trial = study.ask()
    for epoch, loss in enumerate(curve, start=1):
        trial.report(loss, epoch)
    losses = {number: dict(enumerate(values, start=1)) for number, values in enumerate([*others, curve])}
    ours = MedianPruner(first_epoch=1, least_trials=5).decide(losses, {trial.number})
    assert ours == ({trial.number} if trial.should_prune() else set())


@pytest.mark.parametrize(
    ("name", "first"), [("none", None), ("median", 3), ("asha", 3), ("first-epochs", 3), ("percentile", 1)]
)
def test_nothing_is_judged_while_a_trial_may_warm_up(name, first):
    """No trial is stopped before the first epoch after the longest warm-up; percentile begins earlier."""
    pruner = create_pruner(name, EPOCHS, 64, largest_warmup_fraction=0.2)
    losses = [float(trial) for trial in range(64)]
    judged = [epoch for epoch in range(1, EPOCHS) if pruner.decide(lockstep(losses, epoch), range(64))]
    assert (judged or [None])[0] == first


@pytest.mark.parametrize(
    ("epochs", "warmup", "first"), [(10, 0.0, 1), (10, 0.2, 1), (10, 0.5, 3), (100, 0.14, 7), (5, 0.9, 3)]
)
def test_percentile_begins_half_way_through_the_longest_warm_up(epochs, warmup, first):
    """Its first epoch is that at which the longest warm-up has half its way behind it, rounded up."""
    made = create_pruner("percentile", epochs, 64, warmup)
    assert isinstance(made, LeadersGoOn)
    assert isinstance(made.pruner, PercentilePruner)
    assert made.pruner.first_epoch == first


def test_rounding_does_not_delay_the_first_judgement():
    """A warm-up of 7 of 100 epochs ends after epoch 7, although 0.07 x 100 is a little more than 7."""
    made = create_pruner("first-epochs", 100, 64, largest_warmup_fraction=0.07)
    assert isinstance(made, LeadersGoOn)
    assert isinstance(made.pruner, RungPruner)
    assert list(made.pruner.rungs) == [8]


@pytest.mark.parametrize("name", PRUNERS)
def test_one_epoch_leaves_nothing_to_save(name):
    """With one epoch every trial runs to its end."""
    assert create_pruner(name, 1, 64, 0.0) == NoPruner()


@pytest.mark.parametrize("name", ["asha", "median", "first-epochs"])
def test_a_warm_up_up_to_the_last_epoch_leaves_nothing_to_save(name):
    """Where a trial may warm up until the last epoch, every trial runs to its end."""
    assert create_pruner(name, 5, 64, 0.9) == NoPruner()


@pytest.mark.parametrize(("first_epoch", "epochs"), [(1, 2), (1, 10), (3, 10), (3, 100), (9, 10)])
def test_rungs_grow_by_a_factor(first_epoch, epochs):
    """Rungs begin at the first epoch and grow by one factor as long as they lie before the last epoch."""
    rungs = successive_rungs(first_epoch, epochs)
    assert rungs[0] == first_epoch
    assert all(later == REDUCTION_FACTOR * earlier for earlier, later in pairwise(rungs))
    assert rungs[-1] < epochs <= rungs[-1] * REDUCTION_FACTOR


@pytest.mark.parametrize("name", ["asha", "percentile"])
def test_a_diverged_rival_is_beaten_by_all(name):
    """An infinite loss counts as a rival, and its trial is among the first to be stopped."""
    losses = lockstep([math.inf, 1.0, 2.0, 3.0, 4.0, 5.0], 1)
    assert create_pruner(name, EPOCHS, 64, 0.0).decide(losses, {0, 1}) == {0}


def test_a_trial_without_losses_has_no_standing():
    """A candidate that has not reported yet, or that begins anew, is not judged."""
    assert standings({3: {}}, [3, 4]) == {}
    for name in PRUNERS:
        losses = {0: {1: 1.0}, 4: {}}
        assert create_pruner(name, EPOCHS, 64, 0.0).decide(losses, {3, 4}) == set()


@pytest.mark.parametrize("name", ["percentile", "asha", "first-epochs"])
def test_a_trial_at_its_end_is_not_stopped(name):
    """After the last epoch there is nothing to save."""
    losses = lockstep([float(trial) for trial in range(20)], EPOCHS)
    assert create_pruner(name, EPOCHS, 64, 0.0).decide(losses, range(20)) == set()


@pytest.mark.parametrize("epochs", [1, 10])
def test_an_unknown_name_is_refused(epochs):
    """A wrong name is refused with the nearest one, even where nothing could be pruned."""
    with pytest.raises(UnknownNameError, match=r"unknown pruner 'ahsa'. Did you mean 'asha'"):
        create_pruner("ahsa", epochs, 64, 0.0)
