"""What makes a confirmed result doubtful."""

from dataclasses import replace

import pytest

from lrsearch.results import TrialRecord
from lrsearch.review.checks import checks
from lrsearch.review.winner import found_since
from lrsearch.service.studies import resolved
from lrsearch.spec import hyperparameters, spec_from
from tests.review.confirmations import confirmation

GOOD = {"lr": 0.1, "kind": "StepLR", "StepLR.gamma": 0.3, "StepLR.step_fraction": 0.2, "momentum": 0.5}
CLEAR, WORSE = [0.50, 0.52, 0.51, 0.50, 0.53, 0.51], [0.60, 0.62, 0.615, 0.60, 0.63, 0.61]


def study(**changes):
    """Return a resolved study whose name must be quoted in a shell."""
    content = {"name": "my study", "task": "digits-mlp", "trials": 40, "first_trials": False}
    space = {
        "lr": {"low": 1e-3, "high": 1.0, "log": True},
        "kinds": ["StepLR", "WSD"],
        "warmup_fraction": 0.0,
    }
    optimizer = {"momentum": {"low": 0.0, "high": 0.95}}
    return resolved(spec_from({**content, "space": space, "optimizer": optimizer, **changes}, "test"))


def trials(best=None, complete=20, diverged=0):
    """Return trials of which number 1 has a point."""
    records = [TrialRecord(n, "COMPLETE", 0.5, False, GOOD, 10) for n in range(complete)]
    records[1] = TrialRecord(1, "COMPLETE", 0.5, False, {**GOOD, **(best or {})}, 10)
    return records + [TrialRecord(complete + n, "PRUNED", 9.0, True, GOOD, 1) for n in range(diverged)]


def found(losses=None):
    """Return a confirmation in which trial 1 is better than the recipe, unless told otherwise."""
    return confirmation(losses or {"trial 1": CLEAR, "the recipe": WORSE})


def test_a_sound_result_has_nothing_to_doubt():
    """Inside its ranges, from enough trials, by a clear margin."""
    assert checks(study(), trials(), found()) == []


@pytest.mark.parametrize(
    ("lr", "words"),
    [
        (0.6, "lrsearch extend 'my study' --lr-high 4 --trials +10"),
        (0.0015, "lrsearch extend 'my study' --lr-low 0.00025 --trials +10"),
    ],
)
def test_a_best_lr_near_the_end_of_its_range_asks_for_more(lr, words):
    """Within a factor of two, with the command that widens the range."""
    (doubt,) = checks(study(), trials({"lr": lr}), found())
    assert doubt.endswith(words)


def test_a_knob_at_the_end_of_its_range_is_told():
    """With the winner's own file to begin another study with."""
    (doubt,) = checks(study(), trials({"StepLR.gamma": 0.899}), found())
    assert doubt.startswith("StepLR.gamma = 0.899 lies at the end of its range, 0.05..0.9")
    assert doubt.endswith("lrsearch best 'my study' --format toml")


def test_an_end_beyond_which_there_is_nothing_is_no_bound():
    """Momentum 0 is where momentum begins."""
    assert checks(study(), trials({"momentum": 0.0}), found()) == []
    (doubt,) = checks(study(), trials({"momentum": 0.949}), found())
    assert "momentum = 0.949" in doubt


def test_a_baseline_that_won_has_no_bounds_to_check():
    """Its rate was not searched."""
    assert checks(study(), trials({"lr": 0.9}), found({"trial 1": WORSE, "the recipe": CLEAR})) == []


def test_a_first_trial_that_was_compared_as_a_baseline_is_not_found_since():
    """Whatever its loss in the search: confirming again would bring nothing new."""
    compared = confirmation({"trial 1": CLEAR, "the recipe": WORSE}, found={"trial 1": 0.5})
    better = TrialRecord(30, "COMPLETE", 0.1, False, GOOD, 10)
    point = hyperparameters(study(), GOOD).to_point()
    recipe = replace(compared.candidates[1], point=point)
    assert found_since(study(), [*trials(), better], compared.candidates) == better
    assert found_since(study(), [*trials(), better], (compared.candidates[0], recipe)) is None
    new = TrialRecord(31, "COMPLETE", 0.2, False, {**GOOD, "lr": 0.2}, 10)
    assert found_since(study(), [*trials(), better, new], (compared.candidates[0], recipe)) == new


def test_seeds_that_all_begin_alike_are_told():
    """As they say nothing of the luck with initial weights."""
    (doubt,) = checks(study(), trials(), replace(found(), same_weights=True))
    assert doubt.startswith("under all seeds the model begins with the same weights")
    assert "torch.manual_seed()" in doubt


def test_the_values_of_a_first_trial_are_the_recipes():
    """No search has driven them to the ends of their ranges."""
    recipes = confirmation({"trial 1": CLEAR, "the recipe": WORSE}, recipes={"trial 1": "linear decay"})
    assert checks(study(), trials({"StepLR.gamma": 0.899}), recipes) == []


def test_few_complete_trials_ask_for_more():
    """Below ten."""
    (doubt,) = checks(study(), trials(complete=9), found())
    assert doubt.startswith("only 9 trials were trained to the end")
    assert doubt.endswith("lrsearch extend 'my study' --trials +20")


def test_many_diverged_trials_ask_for_smaller_rates():
    """More than half."""
    (doubt,) = checks(study(), trials(complete=10, diverged=11), found())
    assert doubt.startswith("11 of 21 trials diverged")


def test_a_margin_within_the_noise_asks_for_more_seeds():
    """Twice as many as now."""
    noisy = [0.51, 0.50, 0.53, 0.49, 0.55, 0.50]
    (doubt,) = checks(study(), trials(), found({"trial 1": CLEAR, "the recipe": noisy}))
    assert doubt.startswith("the margin to the recipe is within the noise of the seeds.")
    assert doubt.endswith("lrsearch confirm 'my study' --seeds 12")


def test_a_confirmation_with_rivals_is_advised_with_rivals():
    """Else the newer one would say nothing of them."""
    losses = {"trial 1": CLEAR, "the recipe": WORSE, "rival": CLEAR[::-1]}
    [doubt] = checks(study(), trials(), found(losses))
    assert doubt.startswith("the margin to rival is within the noise of the seeds")
    assert doubt.endswith("lrsearch confirm 'my study' --seeds 12 --rivals")
    newer = [*trials(), TrialRecord(30, "COMPLETE", 0.1, False, GOOD, 10)]
    [since, _margin] = checks(study(), newer, confirmation(losses, found={"trial 1": 0.5}))
    assert since.endswith("lrsearch confirm 'my study' --seeds 6 --rivals")
