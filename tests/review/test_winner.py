"""Which point of a study is its winner: a confirmed one first, else the best complete trial."""

import math

import pytest

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.results import TrialRecord
from lrsearch.retrainings import Candidate, Confirmation, Retraining
from lrsearch.review.winner import as_values, trial_winner, winner
from lrsearch.schedules import Hyperparameters
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from

SPACE = {"lr": {"low": 1e-3, "high": 1.0, "log": True}, "warmup_fraction": 0.0, "kinds": ["constant"]}
SPEC = resolved(
    spec_from(
        {
            "name": "s",
            "task": "digits-mlp",
            "trials": 5,
            "first_trials": False,
            "space": SPACE,
            "optimizer": {"momentum": 0.5},
            "groups": {"0.bias": {"frozen": True}},
        },
        "test",
    )
)


def record(number, value, state="COMPLETE", **fields):
    """Return a trial whose lr tells its number."""
    return TrialRecord(
        number, state, value, fields.pop("diverged", False), {"lr": (number + 1) / 100}, **fields
    )


TRIALS = [
    record(0, 0.5),
    record(1, 0.3),
    record(2, 0.1, "PRUNED"),
    record(3, 0.3),
    record(4, math.inf, "PRUNED", diverged=True),
    record(5, None, "FAIL"),
]
BASELINE = Hyperparameters(0.1, "ReduceLROnPlateau", {"patience": 3}, optimizer={"momentum": 0.9}).to_point()


def confirmation(trial_losses, baseline_losses):
    """Return a confirmation of trial 0 beside a baseline, with losses on four seeds."""
    candidates = (
        Candidate("trial 0", {"lr": 0.01, "kind": "constant", "momentum": 0.5}, 0, 0.5),
        Candidate("the tutorial's recipe", BASELINE),
    )
    runs = {
        each.name: tuple(Retraining(each.point, seed, 1, (loss,)) for seed, loss in enumerate(losses))
        for each, losses in zip(candidates, (trial_losses, baseline_losses), strict=True)
    }
    return Confirmation(candidates, (0, 1, 2, 3), 1, runs, (), "2026-01-01T00:00:00+00:00")


def test_without_a_confirmation_the_best_complete_trial_wins():
    """The first of those with the smallest value; its point is whole, what is fixed and frozen included."""
    found = winner(SPEC, TRIALS, None)
    assert (found.name, found.trial, found.value, found.standing) == ("trial 1", 1, 0.3, None)
    assert found.hyperparameters.lr == 0.02
    assert found.hyperparameters.optimizer["momentum"] == 0.5
    assert found.hyperparameters.frozen == ("0.bias",)


def test_a_study_without_a_complete_trial_has_none():
    """Pruned ones are no winners."""
    assert winner(SPEC, TRIALS[2:3] + TRIALS[4:], None) is None
    assert winner(SPEC, [], None) is None


def test_a_confirmed_trial_wins_over_one_that_only_the_search_liked():
    """With its standing on the fresh seeds."""
    found = winner(SPEC, TRIALS, confirmation((0.4, 0.4, 0.41, 0.43), (0.6, 0.6, 0.6, 0.6)))
    assert (found.name, found.trial, found.value) == ("trial 0", 0, 0.5)
    assert found.standing.valid_loss.mean == pytest.approx(0.42)
    assert found.standing.valid_loss.runs == 2
    assert found.hyperparameters == Hyperparameters(0.01, optimizer={"momentum": 0.5}, frozen=("0.bias",))


def test_a_baseline_may_win():
    """Its point has a kind that the study does not search; the search found no value for it."""
    found = winner(SPEC, TRIALS, confirmation((0.4, 0.4, 0.4, 0.4), (0.1, 0.1, 0.11, 0.1)))
    assert (found.name, found.trial, found.value) == ("the tutorial's recipe", None, None)
    assert found.hyperparameters.kind == "ReduceLROnPlateau"
    assert found.hyperparameters.knobs["patience"] == 3


def test_a_confirmation_that_all_candidates_lost_confirms_nothing():
    """The search's best stays."""
    lost = (math.inf, 0.1, 0.1, 0.1)
    assert winner(SPEC, TRIALS, confirmation(lost, lost)).name == "trial 1"


def test_a_trial_of_the_users_choice_comes_with_its_standing():
    """Without one if it was not confirmed, and without a value if it was stopped early."""
    confirmed = confirmation((0.4, 0.4, 0.41, 0.43), (0.1, 0.1, 0.1, 0.1))
    assert trial_winner(SPEC, TRIALS, confirmed, 0).standing.candidate.name == "trial 0"
    chosen = trial_winner(SPEC, TRIALS, confirmed, 2)
    assert (chosen.name, chosen.value, chosen.standing) == ("trial 2", None, None)


@pytest.mark.parametrize(("number", "message"), [(4, "diverged"), (5, "is FAIL")])
def test_a_trial_that_came_to_nothing_is_refused(number, message):
    """With how it ended."""
    with pytest.raises(SpecError, match=f"trial {number} of study 's' {message}"):
        trial_winner(SPEC, TRIALS, None, number)


def test_a_trial_that_does_not_exist_is_refused():
    """With those that do."""
    with pytest.raises(UnknownNameError, match=r"unknown trial '9'.*0, 1, 2"):
        trial_winner(SPEC, TRIALS, None, 9)


def test_a_winner_as_values_has_its_point_and_what_is_known_of_it():
    """Under its canonical names; whether it was confirmed."""
    values = as_values(SPEC, winner(SPEC, TRIALS, None), (10, 45))
    assert values["point"] == {
        "lr": 0.02,
        "kind": "constant",
        "warmup_fraction": 0.0,
        "momentum": 0.5,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
    }
    assert (values["trial"], values["confirmed"], values["frozen"]) == (1, None, ["0.bias"])
    assert (values["epochs"], values["steps_per_epoch"]) == (10, 45)
    confirmed = confirmation((0.4, 0.4, 0.41, 0.43), (0.6, 0.6, 0.6, 0.6))
    assert as_values(SPEC, winner(SPEC, TRIALS, confirmed), (10, 45))["confirmed"]["runs"] == 2
