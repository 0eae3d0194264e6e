"""The search benchmark times what it says, here on a fraction of its work."""

import gc
import itertools
import json
import math
import time
from pathlib import Path

import pytest
import torch

from benchmarks.search import optuna_searches
from benchmarks.search.__main__ import loss_to_reach, main
from benchmarks.search.lrsearch_search import lrsearch
from benchmarks.search.optuna_searches import Charged, documented, resident
from benchmarks.search.problem import CPU, Problem, Training
from benchmarks.search.runs import CONTESTANTS, Run, RunFile, table
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray

EASY, IMPOSSIBLE = 0.5, 0.0
DIGITS = ("--study", "digits-tpe", "--seeds", "1", "--target", str(EASY), "--cap-s", "60")


def _problem(target: float, cap_s: float = 60.0) -> Problem:
    return Problem("digits-tpe", 0, target, cap_s, Path("nowhere"), 2)


@pytest.mark.slow
def test_runs_are_added_to_a_file_and_told_together(tmp_path, capsys, monkeypatch):
    """First the others, then lrsearch: the second table has all of them."""
    monkeypatch.setattr(optuna_searches, "TUTORIAL_SECONDS", 0.1)
    file = str(tmp_path / "runs.json")
    main([*DIGITS, "--json", file, "--only", "optuna-documented", "optuna-resident"])
    assert "lrsearch |" not in capsys.readouterr().out.replace("over lrsearch |", "")
    main([*DIGITS, "--json", file, "--only", "lrsearch"])
    printed = capsys.readouterr().out
    for name in ("optuna as documented (replayed)", "optuna resident", "lrsearch"):
        assert f"| {name} | 1 |" in printed
    assert printed.count("1 of 1") == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # Ray leaves some open
def test_ray_tune_reaches_an_easy_loss():
    """On two cores, within a minute."""
    from benchmarks.search.ray_search import ray_tune

    run = ray_tune(_problem(EASY))
    gc.collect()  # here, where the warnings are known
    assert run.reached
    assert run.best <= EASY


@pytest.mark.slow
@pytest.mark.parametrize("search", [resident, lrsearch])
def test_a_search_that_does_not_reach_the_loss_counts_as_the_cap(search):
    """No loss is 0."""
    run = search(_problem(IMPOSSIBLE, cap_s=8.0))
    assert (run.reached, run.seconds) == (False, 8.0)


@pytest.mark.slow
def test_the_replay_is_capped_by_what_it_is_charged():
    """Epochs of 10 s under a cap of 35 s: the fourth is over it."""
    run = documented(_problem(IMPOSSIBLE, cap_s=35.0), 10.0)
    assert (run.reached, run.seconds, run.epochs) == (False, 35.0, 4)


def test_a_replayed_epoch_costs_its_charge_alone():
    """Two epochs of 0.2 s, charged 100 s each."""
    clock = Charged(100.0)
    for _ in range(2):
        assert clock.replay(lambda: time.sleep(0.2) or "losses") == "losses"
    assert 200 <= clock.seconds < 200.2


def test_trials_are_trained_as_lrsearch_trains_them():
    """The losses of two epochs at a point with warm-up are those of the reference trainer."""
    problem = _problem(EASY)
    training = Training(problem)
    point = {**training.space.walk(_middle), "lr": 0.1, "kind": "CosineAnnealingLR"}
    hyperparameters = training.hyperparameters(training.space.complete(_searched(training, point)))
    data = load_data(problem.task, 32, CPU)
    array = EagerArray(problem.task, data, epochs=training.epochs, optimizer="SGD", seed=0)
    array.start(0, hyperparameters)
    expected = [array.run_epoch()[0].valid_loss for _ in range(2)]
    losses = training.losses(training.space.complete(_searched(training, point)))
    torch.testing.assert_close(list(itertools.islice(losses, 2)), expected, rtol=1e-4, atol=0)


def _middle(parameter):
    from lrsearch.search.space import domain_of

    return domain_of(parameter).at(0.5)


def _searched(training, point):
    space = training.space
    whole = space.walk(lambda parameter: point.get(parameter.name, _middle(parameter)))
    return space.searched_part(whole)


def _run(contestant: str, seed: int, seconds: float, *, reached: bool = True) -> Run:
    return Run(contestant, seed, "mnist-tpe", 0.08, 600.0, reached, seconds, 10, 0.07)


def test_a_later_run_takes_the_place_of_an_earlier_one(tmp_path):
    """Of the same contestant and seed, also in the file."""
    path = tmp_path / "runs.json"
    for run in (_run("lrsearch", 0, 9.0), _run("lrsearch", 1, 8.0), _run("lrsearch", 0, 7.0)):
        RunFile(path).add(run)
    assert sorted(run.seconds for run in RunFile(path).runs) == [7.0, 8.0]


def test_the_table_compares_medians():
    """Of 10, 20 and the cap of 600 s it is 20 s: five times the 4 s of lrsearch."""
    runs = [_run("optuna-resident", 0, 10.0), _run("optuna-resident", 1, 20.0)]
    runs += [_run("optuna-resident", 2, 600.0, reached=False), _run("lrsearch", 0, 4.0)]
    printed = table(runs)
    assert "| optuna resident | 3 | 20.0 | 10.0, 20.0, over 600 | 2 of 3 | 10 | 5.0 |" in printed
    assert "| times faster than optuna resident | 4 | 5.0 | met |" in printed
    assert set(CONTESTANTS) >= {run.contestant for run in runs}


def test_the_loss_to_reach_is_that_of_the_best_trial_that_ended(tmp_path):
    """Two percent above the lowest last loss of the first search; a trial that diverged has none."""
    trials = [{"valid_losses": losses} for losses in ([0.1, 0.2], [0.5, 0.3], [0.4, None])]
    path = tmp_path / "curves.json"
    path.write_text(json.dumps([{"trials": trials}, {"trials": [{"valid_losses": [0.01]}]}]))
    assert math.isclose(loss_to_reach(path), 0.204)
