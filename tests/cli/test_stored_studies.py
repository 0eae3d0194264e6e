"""Looking at stored studies, widening and deleting them."""

import csv
import datetime
import io
import math
import sqlite3
import tomllib
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution

from lrsearch.review.listing import CURVE_FIELDS, TRIAL_FIELDS
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.storage.studies import find_study
from tests.cli.commands import lrsearch, refused, succeed


def rows(outcome):
    """Return the rows of a CSV that a command printed."""
    return list(csv.DictReader(io.StringIO(outcome.out)))


def test_studies_are_listed_with_their_state(finished):
    """Name, task, sampler, ended trials of the budget, best value."""
    heading, line = succeed("studies").out.splitlines()
    assert heading.split("  ")[0] == "study"
    assert line.split()[:6] == ["fin", "ished", "digits-mlp", "grid", "5", "5"]
    [row] = succeed("studies", "--format", "json").json
    assert {"name", "task", "sampler", "ended", "trials", "states", "best_value", "created_at"} == set(row)
    assert row["name"] == finished
    assert row["states"] == {"COMPLETE": 3, "diverged": 2}
    assert float(line.split()[6]) == pytest.approx(row["best_value"], rel=1e-3)


def test_without_studies_the_list_says_how_to_begin():
    """And is an empty list for programs."""
    assert "lrsearch optimize" in succeed("studies").out
    assert succeed("studies", "--format", "json").json == []


def test_looking_makes_no_database():
    """A wrong --storage is an empty list or an error that says so, and leaves no file behind."""
    storage = ["--storage", "sqlite:///nothere.db"]
    assert succeed("studies", "--format", "json", *storage).json == []
    assert "there is no database sqlite:///nothere.db yet" in refused("show", "s", *storage)
    assert not Path("nothere.db").exists()


def test_show_gives_the_best_trial_the_counts_and_the_best_ten(finished):
    """The best trial is that of the smallest value; diverged trials are counted."""
    out = succeed("show", finished).out
    trials = succeed("trials", finished, "--format", "json").json
    best = min((trial for trial in trials if trial["state"] == "COMPLETE"), key=lambda trial: trial["value"])
    assert "Study fin ished: digits-mlp, 2 epochs, sampler grid, pruner none" in out
    assert "Trials: 5 of 5 have ended (3 complete, 2 diverged)" in out
    assert f"Best trial {best['number']}: validation loss {best['value']:.4g}, valid_accuracy" in out
    assert "torch.optim.SGD" in out
    listed = out.partition("The best 3 of 3 complete trials:\n")[2].splitlines()[1:]
    assert len(listed) == 3
    assert listed[0].split()[0] == str(best["number"])


def test_a_study_that_has_not_begun_can_be_shown(pending):
    """Without a best trial, which ``best`` says with the command that helps."""
    assert "0 of 2 have ended (none yet)" in succeed("show", pending).out
    assert "lrsearch optimize 'pen ding'" in refused("best", pending)
    assert succeed("trials", pending, "--format", "json").json == []
    assert succeed("trials", pending, "--format", "csv").out.startswith("number,state,value")
    assert succeed("curves", pending, "--format", "csv").out == ",".join(CURVE_FIELDS) + "\n"


def test_trials_as_json_have_the_promised_fields(finished):
    """A list of objects: canonical parameters, null for what is not finite, times in UTC."""
    trials = succeed("trials", finished, "--format", "json").json
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3, 4]
    assert {tuple(trial) for trial in trials} == {TRIAL_FIELDS}
    fields = "number state value diverged params epochs started_at finished_at"
    assert fields.split() == list(TRIAL_FIELDS)
    for trial in trials:
        high = trial["params"]["lr"] == 1e6
        assert trial["diverged"] is high
        assert (trial["state"], trial["value"] is None) == (("PRUNED", True) if high else ("COMPLETE", False))
        assert trial["epochs"] == (1 if high else 2)
        assert set(trial["params"]) - {"WSD.decay_fraction"} == {"lr", "kind"}
        for moment in ("started_at", "finished_at"):
            assert datetime.datetime.fromisoformat(trial[moment]).utcoffset() == datetime.timedelta(0)


def test_trials_as_csv_are_those_of_the_json(finished):
    """A row each, parameters in columns of their own."""
    trials = succeed("trials", finished, "--format", "json").json
    for row, trial in zip(rows(succeed("trials", finished, "--format", "csv")), trials, strict=True):
        assert int(row["number"]) == trial["number"]
        assert row["state"] == trial["state"]
        assert float(row["value"]) == (math.inf if trial["value"] is None else trial["value"])
        assert float(row["params.lr"]) == trial["params"]["lr"]
        assert row["started_at"] == trial["started_at"]


def test_trials_as_a_table_are_lines(finished):
    """Not on a terminal, each trial is one line, however long."""
    heading, *lines = succeed("trials", finished).out.splitlines()
    assert heading.split() == ["trial", "state", "value", "epochs", "hyperparameters"]
    assert len(lines) == 5
    assert sum("DIVERGED" in line for line in lines) == 2
    assert sum("WSD(decay_fraction 0.5)" in line for line in lines) == 2


def test_curves_have_the_promised_fields(finished):
    """Epochs from 1, the lr of the last update, the metrics, null for what is not finite."""
    curves = succeed("curves", finished, "--format", "json").json
    assert {tuple(epoch) for epoch in curves} == {CURVE_FIELDS}
    fields = "trial epoch train_loss valid_loss metrics lr seconds"
    assert fields.split() == list(CURVE_FIELDS)
    trials = {trial["number"]: trial for trial in succeed("trials", finished, "--format", "json").json}
    for number, trial in trials.items():
        own = [epoch for epoch in curves if epoch["trial"] == number]
        assert [epoch["epoch"] for epoch in own] == list(range(1, trial["epochs"] + 1))
        if not trial["diverged"]:
            assert own[-1]["valid_loss"] == trial["value"]
        if trial["params"]["kind"] == "constant":
            assert {epoch["lr"] for epoch in own} == {trial["params"]["lr"]}
    assert all(0 <= epoch["metrics"]["valid_accuracy"] <= 1 for epoch in curves)
    assert [float(row["lr"]) for row in rows(succeed("curves", finished))] == [e["lr"] for e in curves]


def test_the_best_trial_as_json_is_a_list_of_one(finished):
    """Its row among all trials, under its name, and that nothing has confirmed it."""
    [best] = succeed("best", finished, "--format", "json").json
    assert (best.pop("name"), best.pop("confirmed")) == ("trial 0", None)
    assert best in succeed("trials", finished, "--format", "json").json


def test_the_best_trial_as_toml_trains_again_to_the_same_value(finished, tmp_path):
    """The printed file is a study of one trial, and gives the very same loss."""
    text = succeed("best", finished, "--format", "toml").out
    [best] = succeed("best", finished, "--format", "json").json
    assert spec_from(tomllib.loads(text), "test").trials == 1
    (tmp_path / "again.toml").write_text(text)
    succeed("optimize", "again.toml", "--quiet")
    [again] = succeed("trials", "fin ished-best", "--format", "json").json
    assert again["value"] == best["value"]
    assert again["params"] == {}
    assert "lr 0.1" in succeed("trials", "fin ished-best").out


def test_a_point_that_was_never_finished_is_not_shown(pending):
    """A worker that died while it sampled leaves a trial with a part of its parameters, and no slot."""
    with open_database() as database:
        record = find_study(database, pending)
        study_id = database.optuna_storage.get_study_id_from_name(record.name)
        trial_id = database.optuna_storage.create_new_trial(study_id)
        kinds = CategoricalDistribution(("StepLR", "ReduceLROnPlateau", "constant"))
        database.optuna_storage.set_trial_param(trial_id, "kind", 0, kinds)
    assert succeed("trials", pending, "--format", "json").json == []
    assert "0 of 2 have ended (none yet)" in succeed("show", pending).out


@pytest.mark.parametrize(
    ("verb", "rest"),
    [
        ("show", []),
        ("best", []),
        ("trials", []),
        ("curves", []),
        ("extend", ["--trials", "+1"]),
        ("enqueue", ["lr=0.1"]),
        ("delete", ["--yes"]),
        ("optimize", []),
    ],
)
def test_an_unknown_study_is_refused_with_the_nearest_name(finished, verb, rest):
    """By every command that takes one."""
    message = refused(verb, finished.replace(" ", ""), *rest)
    assert "unknown study 'finished'. Did you mean 'fin ished'?" in message


def test_extend_adds_trials_and_widens_the_bounds(pending, trial_count):
    """It says what the study has now, and the command that goes on."""
    out = succeed("extend", pending, "--trials", "+3", "--lr-low", "1e-4", "--lr-high", "8").out
    assert "Study pen ding now has 5 trials and lr in 0.0001..8, log scale." in out
    assert "lrsearch optimize 'pen ding'" in out
    succeed("optimize", pending, "--quiet")
    assert trial_count(pending) == 5


def test_extend_keeps_all_trials(finished):
    """Nothing is trained again; the new trial is the grid's next point."""
    before = succeed("trials", finished, "--format", "json").json
    succeed("extend", finished, "--trials", "1")
    succeed("optimize", finished, "--quiet")
    after = succeed("trials", finished, "--format", "json").json
    assert after[:5] == before
    assert len(after) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing to extend"),
        (["--trials", "+0"], "nothing to extend"),
        (["--trials", "many"], "'many'"),
        (["--trials", "-5"], "'-5'"),
        (["--trials", "+2000000"], "1000000"),
        (["--lr-low", "0.01"], "only be widened"),
        (["--lr-high", "1"], "only be widened"),
        (["--lr-low", "0"], "low > 0"),
        (["--lr-low", "-1"], "low > 0"),
        (["--lr-high", "nan"], "finite"),
        (["--lr-high", "inf"], "finite"),
    ],
)
def test_what_cannot_be_extended_is_refused(pending, options, words):
    """And the study stays as it was."""
    before = succeed("show", pending).out
    assert words in refused("extend", pending, *options)
    assert succeed("show", pending).out == before


def test_only_a_range_of_learning_rates_can_be_widened(finished):
    """This study has a list."""
    assert "lr = 0.1 | 1000000.0 | 0.01" in refused("extend", finished, "--lr-high", "10")


def test_a_grid_cannot_be_extended_beyond_its_points(finished):
    """It has six."""
    assert "the grid has 6 points, but trials = 7" in refused("extend", finished, "--trials", "+2")


def test_an_enqueued_point_is_trained_next(pending):
    """What it leaves open is sampled; values are read as numbers, texts, or true and false."""
    out = succeed("enqueue", pending, "lr=0.25", "kind=StepLR", "StepLR.gamma=0.5").out
    assert out == "The point is in slot 0 of study pen ding. Train it with: lrsearch optimize 'pen ding'\n"
    out = succeed("enqueue", pending, "kind=ReduceLROnPlateau", "ReduceLROnPlateau.patience=0").out
    assert "slot 1" in out
    succeed("optimize", pending, "--quiet")
    first, second = succeed("trials", pending, "--format", "json").json
    assert first["params"].items() >= {"lr": 0.25, "kind": "StepLR", "StepLR.gamma": 0.5}.items()
    assert "StepLR.step_fraction" in first["params"]
    assert second["params"]["ReduceLROnPlateau.patience"] == 0


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (["lr"], "KEY=VALUE"),
        (["=3"], "KEY=VALUE"),
        (["lrr=0.1"], "Did you mean 'lr'?"),
        (["lr=high"], "'high'"),
        (["lr=100"], "0.001..5"),
        (["lr=nan"], "nan"),
        (["lr=true"], "True"),
        (["kind=WSD"], "'WSD'"),
        (["momentum=0.9"], "fixed to 0.0"),
        (["StepLR.gamma=0.5"], "kind is StepLR"),
        (["kind=constant", "StepLR.gamma=0.5"], "kind is StepLR"),
        (["lr=0.1", "lr=0.2"], "only once"),
        (["ReduceLROnPlateau.patience=0.5", "kind=ReduceLROnPlateau"], "whole numbers"),
    ],
)
def test_a_point_outside_the_space_is_refused(pending, points, words):
    """With the parameter, the value got, and what is allowed; no slot is used."""
    assert words in refused("enqueue", pending, *points)
    assert "slot 0" in succeed("enqueue", pending, "lr=0.1").out


def test_a_point_for_a_full_study_is_refused(pending):
    """With the command that adds a slot."""
    for lr in ("0.1", "0.2"):
        succeed("enqueue", pending, f"lr={lr}")
    message = refused("enqueue", pending, "lr=0.3")
    assert "no free slot" in message
    assert "lrsearch extend 'pen ding' --trials +1" in message


def test_delete_asks_first(finished, trial_count):
    """No answer and no leave the study as it is; yes deletes it."""
    assert lrsearch("delete", finished, answer="n\n").out.endswith("Nothing was deleted.\n")
    assert "--yes" in lrsearch("delete", finished).err
    assert lrsearch("delete", finished).code == 2
    assert trial_count(finished) == 5
    asked = succeed("delete", finished, answer="y\n").out
    assert "Delete study 'fin ished' with its 5 ended trials?" in asked
    assert succeed("studies", "--format", "json").json == []


def test_delete_can_be_told_not_to_ask(finished, pending):
    """Other studies stay; nothing of the deleted one is left in the database."""
    assert succeed("delete", finished, "-y").out == "Study fin ished is deleted.\n"
    assert [row["name"] for row in succeed("studies", "--format", "json").json] == [pending]
    with sqlite3.connect("lrsearch.db") as connection:
        count = connection.execute("SELECT count(DISTINCT study_uuid) FROM lrsearch_slots").fetchone()
    connection.close()
    assert count == (1,)


def test_a_deleted_study_can_begin_anew(finished):
    """The same name is free again, with another specification."""
    succeed("delete", finished, "--yes")
    outcome = succeed("optimize", "finished.toml", "--trials", "1", "--epochs", "1", "--quiet")
    assert "1 of 1 trials have ended" in outcome.out
