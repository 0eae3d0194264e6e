"""``Result.confirm``: from a search in Python to a verdict in Python."""

import math
import pickle
from pathlib import Path

import pytest
import torch

import lrsearch
from lrsearch.api.verdict import verdict_of
from lrsearch.errors import SpecError, StudyConflictError
from lrsearch.service import retraining
from tests.api.tasks import INPUTS, TARGETS, linear, regression
from tests.api.test_trials import report_lr, searched
from tests.cli.commands import refused, succeed
from tests.review.confirmations import confirmation
from tests.review.report.studies import spec

FILE = """
import torch
from torch import nn
import lrsearch

x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0])
task = lrsearch.Task.from_tensors(
    lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), (x[:128], y[:128]), (x[128:], y[128:]),
    loss=nn.functional.mse_loss, epochs=4, name="line",
)
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch, tmp_path):
    """State lies in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)


def search(task=None, **arguments):
    """Search the linear regression with a small budget, without a bar."""
    given = {"trials": 4, "name": "line", "progress": False, **arguments}
    return lrsearch.optimize(task or regression(), **given)


def confirm(result, **arguments):
    """Confirm the best trial on four seeds, without a bar."""
    return result.confirm(**{"top": 1, "seeds": 4, "progress": False, **arguments})


def test_a_task_that_is_an_object_is_confirmed():
    """The verdict has a sentence, a table and the winner; the commands know it too."""
    result = search()
    verdict = confirm(result)
    assert "fresh seeds that did not select it" in verdict.sentence
    assert repr(verdict).startswith(f"{verdict.sentence}\n\ncandidate ")
    table = verdict.candidates
    assert table["name"].iloc[0] == verdict.winner.name
    assert table["trial"].notna().sum() == 1
    assert (table["low"] <= table["valid_loss"]).all()
    assert (table["lost_runs"] == 0).all()
    assert succeed("best", "line").out.splitlines()[0].lower().startswith(verdict.winner.name)


def test_the_winner_is_built_like_a_result():
    """Its lines run with torch alone, and its scheduler begins at the same rate."""
    winner = confirm(search()).winner
    namespace = {"torch": torch, "model": linear()}
    exec(winner.code(epochs=8), namespace)
    optimizer, _scheduler = winner.build(linear(), epochs=8)
    assert namespace["optimizer"].param_groups[0]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"])
    assert repr(winner).startswith(f"{winner.name}: lr ")


def test_python_and_the_command_say_the_same(monkeypatch):
    """The command trains nothing after the call, and prints its words, with the database in its advice."""
    Path("net.py").write_text(FILE)
    place = "sqlite:///elsewhere.db"
    verdict = confirm(search("net.py:task", storage=place))
    trained = []
    whole = retraining.train_share
    monkeypatch.setattr(
        retraining, "train_share", lambda *given: (trained.extend(given[-1]), whole(*given))[1]
    )
    options = ("--allow-task", "net.py:task", "--top", "1", "--seeds", "4", "--storage", place)
    said = succeed("confirm", "line", *options).out
    assert trained == []
    assert f"lrsearch extend line --trials +10 --storage {place}" in verdict.text
    assert said.startswith(verdict.sentence)
    for line in verdict.text.splitlines()[1:]:
        assert " ".join(line.split()) in " ".join(said.split())


def test_a_call_that_was_interrupted_goes_on(monkeypatch, capsys):
    """Ctrl-C says so, what has been trained is kept, and the same call trains the rest."""
    result, trained = search(), []
    whole = retraining.train_share

    def interrupted(*given):
        runs = given[-1]
        trained.append(len(runs))
        yield from whole(*given[:-1], runs[:2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retraining, "train_share", interrupted)
        with pytest.raises(KeyboardInterrupt):
            confirm(result, progress=True)
    assert "interrupted; what was trained is stored: the same call goes on" in capsys.readouterr().err

    def counted(*given):
        trained.append(len(given[-1]))
        return whole(*given)

    monkeypatch.setattr(retraining, "train_share", counted)
    assert confirm(result).winner is not None
    assert trained[1] == trained[0] - 2


def test_a_bar_names_what_is_trained(capsys):
    """First the baseline is tuned, then all train on the fresh seeds."""
    confirm(search(), progress=True)
    said = capsys.readouterr().err
    assert "tuning linear decay, a baseline: " in said
    assert "candidates on 4 seeds: 100%" in said


def test_data_that_have_changed_since_are_refused():
    """Runs on other data could not be compared with the trials."""
    search()
    other = regression()
    shifted = lrsearch.Task.from_tensors(
        linear,
        (INPUTS[:128], TARGETS[:128] + 1),
        (INPUTS[128:], TARGETS[128:]),
        loss=other.loss,
        epochs=4,
        name="line",
    )
    with pytest.raises(StudyConflictError, match="its data are others"):
        confirm(search(shifted))


def test_where_all_candidates_are_lost_there_is_no_winner():
    """The verdict says so, and its table has no losses."""
    lost = confirmation({"trial 3": [math.inf] * 4, "the tutorial's recipe": [math.inf] * 4})
    verdict = verdict_of(lost, lost, spec(), 50, [])
    assert verdict.winner is None
    assert verdict.baseline is None
    assert verdict.sentence.startswith("Nothing can be recommended")
    assert verdict.candidates["valid_loss"].isna().all()
    assert list(verdict.candidates["lost_runs"]) == [4, 4]


def test_a_baseline_that_may_do_as_well_can_be_built_too():
    """It stands beside the winner, under its own name."""
    alike = {"trial 3": [1.0, 1.0, 1.0, 1.2], "the tutorial's recipe": [1.1, 1.1, 1.0, 1.1]}
    found = confirmation(alike)
    verdict = verdict_of(found, found, spec(), 50, [])
    assert verdict.winner.name == "trial 3"
    assert verdict.baseline.name == "the tutorial's recipe"
    assert "lr=0.2" in verdict.baseline.code()


def test_a_verdict_says_where_best_and_export_go_by_another():
    """By more seeds, or by none, as the runs had another length."""
    result = search()
    confirm(result, seeds=6)
    assert "note      best and export go by the confirmation on 6 seeds" in confirm(result, seeds=4).text
    assert "note      the study's trials have 4 epochs" not in confirm(result, seeds=6).text
    assert succeed("best", "line").out.count("confirmed on 3 fresh seeds") == 1


def test_the_call_names_the_database_that_is_not_the_usual():
    """Else it would begin a new study of that name."""
    search(storage="sqlite:///elsewhere.db")
    said = succeed("best", "line", "--storage", "sqlite:///elsewhere.db").out
    assert "lrsearch.optimize(task, ..., name='line', storage='sqlite:///elsewhere.db').confirm()" in said


def test_a_study_that_was_extended_is_confirmed_as_it_is_now():
    """By the command's specification, though the result is of before."""
    Path("net.py").write_text(FILE)
    result = search("net.py:task", seed=3)
    succeed("extend", "line", "--lr-high", "50", "--trials", "+2")
    succeed("optimize", "line", "--allow-task", "net.py:task", "--quiet")
    verdict = confirm(result)
    options = ("--allow-task", "net.py:task", "--top", "1", "--seeds", "4")
    assert succeed("confirm", "line", *options).out.startswith(verdict.sentence)
    assert verdict.winner.spec.trials == 6


def test_another_study_of_the_name_is_not_confirmed():
    """The result's own was deleted."""
    result = search()
    succeed("delete", "line", "--yes")
    search(optimizer="Adam")
    with pytest.raises(StudyConflictError, match="the study 'line' of this result was deleted"):
        confirm(result)


def test_a_result_can_be_pickled():
    """Without its task, which may hold functions; so another process cannot confirm it."""
    result = search()
    again = pickle.loads(pickle.dumps(result))
    assert (again.best, again.value) == (result.best, result.value)
    with pytest.raises(SpecError, match="code of your own"):
        confirm(again)


def test_too_few_seeds_are_refused():
    """Before anything is trained, in words that fit the command as well."""
    with pytest.raises(SpecError, match="seeds of a confirmation must be at least 4, but got 2"):
        confirm(search(), seeds=2)


def test_trials_of_code_of_the_users_cannot_be_confirmed(created_sqlite_url, monkeypatch):
    """Only the user can call it again; the error says what helps."""
    monkeypatch.setenv("LRSEARCH_STORAGE", created_sqlite_url)
    with pytest.raises(SpecError, match=r"in study 's', whose trials were trained by code of your own"):
        searched(report_lr).confirm()


def test_pages_name_the_call_where_no_command_can_train():
    """Report, best, and the command itself say how an object's study is confirmed: from Python."""
    search()
    call = "lrsearch.optimize(task, ..., name='line').confirm()"
    assert call in succeed("best", "line").out
    assert "result.confirm() confirms it" in refused("confirm", "line")
    succeed("report", "line", "-o", "page.html")
    page = Path("page.html").read_text()
    assert "lrsearch.optimize(task, ..., name=&#x27;line&#x27;).confirm()" in page
    assert "lrsearch audit" not in page
    assert "lrsearch optimize" not in page
