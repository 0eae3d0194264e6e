"""A study's note: the best trial and how far to trust it, counts, epochs saved, lines of PyTorch."""

import math
from dataclasses import replace

import pytest

from lrsearch.results import TrialRecord
from lrsearch.retrainings import Candidate, Confirmation, Retraining
from lrsearch.review.facts import StudyFacts
from lrsearch.review.note_wording import study_note
from lrsearch.review.verdict import verdict
from lrsearch.review.wording import pytorch_lines
from lrsearch.service.studies import resolved
from lrsearch.spec import EXTERNAL, hyperparameters, spec_from

WARMLESS = {"warmup": False}
WSD = {"lr": 0.1, "kind": "WSD", "WSD.decay_fraction": 0.5, **WARMLESS}
STEP = {"lr": 0.02, "kind": "StepLR", "StepLR.step_fraction": 0.5, "StepLR.gamma": 0.1, **WARMLESS}
TRIALS = (
    TrialRecord(0, "COMPLETE", 0.5, False, WSD, 10),
    TrialRecord(1, "COMPLETE", 0.25, False, STEP, 10),
    TrialRecord(2, "COMPLETE", 0.25, False, WSD, 10),
    TrialRecord(3, "PRUNED", 0.7, False, WSD, 3),
    TrialRecord(4, "PRUNED", 0.8, False, WSD, 2),
    TrialRecord(5, "PRUNED", math.inf, True, WSD, 1),
    TrialRecord(6, "FAIL", None, False, WSD, 0, reason="RuntimeError: no"),
    TrialRecord(7, "RUNNING", None, False, WSD, 4),
)


def facts(name="my study", trials=TRIALS, **fields):
    """Return the facts of a study of 12 trials of 10 epochs."""
    content = {"name": "s", "task": "digits-mlp", "trials": 12, "epochs": 10}
    spec = resolved(spec_from({**content, "space": {"kinds": ["WSD", "StepLR"]}}, "test"))
    spec = spec.model_copy(update={"name": name})
    return StudyFacts(spec, "2026-01-02T03:04:05+00:00", trials, **{"steps_per_epoch": 37, **fields})


def confirmation(name="trial 1"):
    """Return a confirmation of one candidate on four seeds."""
    point = {"lr": 0.03, "kind": "constant"}
    runs = tuple(Retraining(point, seed, 1, (0.3 + seed / 100,)) for seed in range(4))
    candidate = Candidate(name, point, trial=1, search_value=0.25)
    return Confirmation((candidate,), (0, 1, 2, 3), 1, {name: runs}, (), "2026-01-02T03:04:05+00:00")


def test_the_best_trial_stands_first():
    """The first of the smallest values, in words; the optimizer is named."""
    lines = study_note(facts()).splitlines()
    assert lines[0] == "**Best trial: 1**, validation loss 0.25"
    assert "`SGD, lr 0.02, StepLR(step_fraction 0.5, gamma 0.1)`" in lines


def test_every_end_is_counted_and_running_trials_are_not():
    """By how they ended; the epochs of diverged and failed trials are not saved by pruning."""
    assert (
        "7 of 12 trials have ended: 3 complete, 2 stopped early by the pruner, 1 diverged, 1 failed. "
        "Pruning saved 15 of 70 epochs (21%)."
    ) in study_note(facts())


def test_without_pruning_nothing_is_said_of_it():
    """A study of complete trials alone."""
    assert "Pruning" not in study_note(facts(trials=TRIALS[:2]))


def test_the_lines_of_pytorch_stand_in_a_block_of_code():
    """Those of the best trial."""
    [_before, block, _after] = study_note(facts()).split("```")
    language, *lines = block.splitlines()
    assert language == "python"
    assert lines == pytorch_lines("SGD", hyperparameters(facts().spec, STEP), 10, 37)


def test_where_the_length_of_an_epoch_is_not_known_there_are_no_lines():
    """As where a script of the user's trains."""
    assert "```" not in study_note(facts(steps_per_epoch=None))


def test_a_study_without_confirmation_says_how_to_confirm_it():
    """By the command, its name quoted as a shell needs it."""
    assert "the luckiest run of the search, until `lrsearch confirm 'my study'` confirms it" in study_note(
        facts()
    )


def test_a_study_that_code_of_the_users_trains_names_no_command():
    """Nobody else can call that code again; other seeds are left to the user."""
    known = facts(steps_per_epoch=None)
    note = study_note(replace(known, spec=known.spec.model_copy(update={"task": EXTERNAL})))
    assert "the luckiest run of the search, and code of yours trains this study" in note
    assert "lrsearch confirm" not in note


def test_a_confirmation_has_its_say():
    """The verdict's sentence, escaped, in place of the doubt."""
    note = study_note(facts(confirmation=confirmation()))
    sentence = verdict(confirmation()).sentence
    assert sentence.startswith("Use trial 1. On 2 fresh seeds")
    assert sentence in note.replace("\\", "")
    assert "luckiest" not in note
    assert note.startswith("**Winner: trial 1**")
    assert "lr=0.03" in note  # the lines of PyTorch are the winner's, not the best trial's


@pytest.mark.parametrize("trials", [(), TRIALS[3:]], ids=["none", "none complete"])
def test_a_study_without_a_complete_trial_says_so(trials):
    """There is nothing to trust or to paste."""
    note = study_note(facts(trials=trials))
    assert note.startswith("No trial is complete yet.")
    assert f"{len(trials) and 4} of 12 trials have ended" in note


def test_names_of_users_are_no_markdown():
    """Neither a study's nor a candidate's: what would be HTML stands in code or behind a backslash."""
    hostile = "<img src=x onerror=alert(1)> ` [a](b)"
    note = study_note(facts(name=hostile, confirmation=replace(confirmation(hostile))))
    assert "\\<img src\\=x" in note
    assert "<img" not in note.replace("\\<", "")
    note = study_note(facts(name=hostile))
    assert f"`` lrsearch confirm '{hostile}' ``" in note
