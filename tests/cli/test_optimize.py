"""``lrsearch optimize``: what it prints, and when it trains nothing, more, or something else."""

from pathlib import Path

import pytest
import torch

from lrsearch.training.fused.array import FusedArray
from tests.cli.commands import lrsearch, refused, succeed


@pytest.fixture
def started(monkeypatch):
    """Return a list that gets the number of every trial that is put into training."""
    numbers, start = [], FusedArray.start

    def remember(array, trial, hyperparameters):
        numbers.append(trial)
        start(array, trial, hyperparameters)

    monkeypatch.setattr(FusedArray, "start", remember)
    return numbers


def values(name):
    """Return the values of a study's trials."""
    return [trial["value"] for trial in succeed("trials", name, "--format", "json").json]


def test_a_search_prints_a_line_for_every_trial_and_the_best_at_the_end(study_file):
    """Progress goes to the standard error; the result, with its lines of PyTorch, to the standard output."""
    outcome = succeed("optimize", study_file())
    lines = outcome.err.splitlines()
    assert [line.split()[:3] for line in lines] == [["trial", str(n), "COMPLETE"] for n in range(3)]
    assert [f"[{n}/3, best " in line for n, line in enumerate(lines, 1)] == [True] * 3
    assert all("2 epochs  lr " in line for line in lines)
    first, second, *rest = outcome.out.splitlines()
    assert first.startswith("Study s: 3 of 3 trials have ended (3 complete); training took ")
    assert second.startswith(f"Best trial {values('s').index(min(values('s')))}: validation loss ")
    assert any(line.startswith("  optimizer = torch.optim.SGD(model.parameters(), lr=") for line in rest)


def test_a_quiet_search_prints_the_result_alone(study_file):
    """Nothing on the standard error."""
    path = study_file()
    outcome = succeed("optimize", path, "--quiet")
    assert outcome.err == ""
    assert "Best trial" in outcome.out
    assert succeed("optimize", path, "-q").err == ""


def test_json_lines_tell_everything(study_file):
    """An object a line: every epoch, every trial, the end; null for a diverged value."""
    path = study_file(
        space="lr = [0.1, 1e6]\nkinds = ['constant']\nwarmup_fraction = 0.0",
        sampler="grid",
        trials=2,
        epochs=3,
    )
    outcome = succeed("optimize", path, "--log-format", "json")
    assert outcome.err == ""
    events = outcome.events
    assert [(event["trial"], event["epoch"]) for event in events if event["event"] == "epoch"] == [
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 1),
    ]
    first, second = [event for event in events if event["event"] == "trial"]
    assert (first["number"], first["state"], first["epochs"], first["diverged"]) == (0, "COMPLETE", 3, False)
    assert first["params"].items() >= {"lr": 0.1, "kind": "constant", "momentum": 0.0}.items()
    assert (second["value"], second["diverged"], second["epochs"]) == (None, True, 1)
    assert {event["study"] for event in events} == {"s"}
    assert {event["attempt"] for event in events if "trial" in event} == {1}
    stopped = {key: value for key, value in events[-1].items() if key not in {"time", "study", "worker"}}
    assert stopped == {
        "event": "stopped",
        "reason": "BUDGET",
        "ended": {"COMPLETE": 1, "PRUNED": 1, "diverged": 1},
        "best": {"number": 0, "value": first["value"]},
    }


def test_a_finished_study_is_not_trained_again(study_file, started):
    """The same command prints the same result."""
    path = study_file()
    first = succeed("optimize", path, "--quiet").out.splitlines()
    assert started == [0, 1, 2]
    again = succeed("optimize", path, "--quiet").out.splitlines()
    assert started == [0, 1, 2]
    assert again[1:] == first[1:]


def test_a_stored_study_goes_on_by_its_name(study_file, started):
    """Its file may be gone; a larger budget trains the missing trials alone."""
    path = study_file()
    succeed("optimize", path, "--quiet")
    before = values("s")
    succeed("optimize", "s", "--trials", "5", "--quiet")
    assert started == [0, 1, 2, 3, 4]
    assert values("s")[:3] == before


def test_a_file_with_a_smaller_budget_leaves_the_stored_one(study_file, started):
    """A budget that was raised once is not lowered by the file; to ask for a lower one is refused."""
    path = study_file()
    succeed("optimize", path, "--trials", "4", "--quiet")
    assert "4 of 4 trials" in succeed("optimize", path, "--quiet").out
    assert "can only grow" in refused("optimize", path, "--trials", "2")
    assert started == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("before", "after", "option", "words"),
    [
        ("epochs = 2", "epochs = 3", ["--epochs", "3"], "epochs: stored 2, now 3"),
        ("epochs", "seed = 7\nepochs", ["--seed", "7"], "seed: stored 0, now 7"),
        ('sampler = "grid"', "", ["--sampler", "tpe"], "sampler: stored 'grid', now 'tpe'"),
        ('pruner = "none"', 'pruner = "asha"', ["--pruner", "asha"], "pruner: stored 'none', now 'asha'"),
        ("1e6", "1e5", [], "space.lr: stored [0.1, 1000000.0, 0.01], now [0.1, 100000.0, 0.01]"),
        ("decay_fraction = 0.5", "decay_fraction = 0.4", [], "space.WSD.decay_fraction: stored 0.5, now 0.4"),
    ],
)
def test_a_study_of_that_name_with_another_specification_is_refused(
    finished, started, before, after, option, words
):
    """It names what differs, from file or option, and nothing is trained or lost."""
    kept = values(finished)
    if option:
        assert words in refused("optimize", "finished.toml", *option)
        assert words in refused("optimize", finished, *option)
    Path("other.toml").write_text(Path("finished.toml").read_text().replace(before, after))
    message = refused("optimize", "other.toml")
    assert "study 'fin ished' exists with another specification" in message
    assert words in message
    assert "--name NEW" in message
    assert values(finished) == kept
    assert started == []


def test_run_may_change_from_run_to_run(study_file):
    """Lanes, device and timeout are no part of the study, and change no result."""
    path = study_file()
    succeed("optimize", path, "--quiet", "--trials", "2")
    succeed("optimize", path, "--quiet", "--lanes", "2", "--device", "cpu", "--timeout-s", "600")
    succeed("optimize", path, "--quiet", "--name", "other", "--lanes", "auto")
    assert values("s") == values("other")


def test_another_name_is_another_study(study_file):
    """Of the same file; both are kept."""
    path = study_file()
    succeed("optimize", path, "--quiet")
    succeed("optimize", path, "--quiet", "--name", "second one", "--seed", "3")
    names = [row["name"] for row in succeed("studies", "--format", "json").json]
    assert names == ["s", "second one"]


def test_a_study_that_comes_with_lrsearch_is_found_by_its_name():
    """No file is needed, and the stored one goes first the next time."""
    succeed("optimize", "digits-tpe", "--quiet", "--trials", "1", "--epochs", "1")
    assert "1 of 1 trials" in succeed("optimize", "digits-tpe", "--quiet", "--epochs", "1").out


def test_a_stored_study_may_be_named_like_a_file(study_file):
    """Where no such file exists, the name is looked up."""
    succeed("optimize", study_file(), "--quiet", "--name", "other.toml")
    assert "3 of 3 trials" in succeed("optimize", "other.toml", "--quiet").out


def test_first_trials_that_do_not_fit_are_named(study_file):
    """In plain lines and as JSON; not where quiet was asked for."""
    space = "kinds = ['constant', 'WSD']\nwarmup_fraction = 0.0"
    path = study_file(space=space, first_trials=True, trials=1)
    plain = succeed("optimize", path).err
    assert "first trial left out, the tutorial's recipe: kind must lie within constant | WSD" in plain
    assert "first trial left out, linear decay: " in plain
    events = succeed("optimize", path, "--name", "j", "--log-format", "json").events
    assert [event["text"] for event in events if event["event"] == "note"] == [
        line for line in plain.splitlines() if line.startswith("first trial")
    ]
    assert succeed("optimize", path, "--name", "q", "--quiet").err == ""


def test_a_timeout_says_how_to_go_on(study_file, trial_count):
    """The run ends in peace, and the command that is printed goes on."""
    storage = "sqlite:///lrsearch.db"
    path = study_file(trials=30, epochs=20)
    options = ["--name", "a b", "--storage", storage]
    outcome = succeed("optimize", path, "--quiet", "--timeout-s", "0.3", *options)
    assert f"Go on with: lrsearch optimize 'a b' --storage {storage}" in outcome.err
    assert "released" in outcome.err
    assert "Study a b: " in outcome.out
    assert trial_count("a b") < 30


def test_a_study_without_gain_says_so(study_file):
    """``stop_after_no_gain`` ends it before its budget, which is no failure."""
    space = "lr = [0.1, 1e-4, 2e-4]\nkinds = ['constant']\nwarmup_fraction = 0.0"
    path = study_file(space=space, run="lanes = 1\nworkers = 1\nstop_after_no_gain = 1", sampler="grid")
    outcome = succeed("optimize", path, "--quiet")
    assert "2 of 3 trials" in outcome.out
    assert "Ended early: the last trials brought no gain." in outcome.err


@pytest.mark.parametrize(("trials", "failed"), [(20, 5), (2, 2)])
def test_a_study_whose_trials_all_fail_ends_with_3(study_file, monkeypatch, trials, failed):
    """It stops after five, names the last reason, and the table has them all."""

    def broken(_array, _lrs):
        raise RuntimeError("no such [bold]layer")

    monkeypatch.setattr(FusedArray, "_train_epoch", broken)
    outcome = lrsearch("optimize", study_file(trials=trials), "--quiet")
    assert outcome.code == 3
    assert "RuntimeError: no such [bold]layer" in outcome.err
    assert "lrsearch trials s" in outcome.err
    assert f"{failed} of {trials} trials have ended ({failed} fail)" in outcome.out
    table = succeed("trials", "s").out
    assert table.count("(RuntimeError: no such [bold]layer)") == failed
    states = [trial["state"] for trial in succeed("trials", "s", "--format", "json").json]
    assert states == ["FAIL"] * failed
    assert "no complete trial" in refused("best", "s")


def test_without_argument_mnist_is_searched(monkeypatch):
    """As studies/mnist-tpe.toml says: its data are the first thing that is needed."""
    asked = []

    def load(name, data_dir, _allowed):
        asked.append((name, data_dir.name))
        raise KeyboardInterrupt

    monkeypatch.setattr("lrsearch.service.tasks.load_task", load)
    assert lrsearch("optimize", "--data-dir", "data").code == 130
    assert asked == [("mnist-mlp", "data")]
    assert succeed("studies", "--format", "json").json == []


def test_no_cuda_device_where_one_was_asked_for(study_file, monkeypatch):
    """Nothing is stored, and the message says what to ask for instead."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message = refused("optimize", study_file(), "--device", "cuda")
    assert "'cuda'" in message
    assert "--device auto" in message
    assert succeed("studies", "--format", "json").json == []


@pytest.mark.parametrize("lanes", ["many", "1.5", "-1", ""])
def test_lanes_are_a_number_or_auto(study_file, lanes):
    """Anything else is refused."""
    assert "or auto, but got" in refused("optimize", study_file(), f"--lanes={lanes}")
