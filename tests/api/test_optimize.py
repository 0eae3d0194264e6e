"""``lrsearch.optimize``: from a task of one's own to a winner that can be built."""

import math
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from torch import nn

import lrsearch
from lrsearch.errors import (
    InputError,
    SpecError,
    StudyConflictError,
    StudyStoppedError,
    TaskError,
    UnknownNameError,
)
from tests.api.tasks import INPUTS, TARGETS, linear, regression
from tests.cli.commands import refused, succeed


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch, tmp_path):
    """State lies in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)


def search(task=None, **arguments):
    """Search the linear regression with a small budget, without a bar."""
    return lrsearch.optimize(task or regression(), **{"trials": 4, "progress": False, **arguments})


def test_a_search_returns_the_best_complete_trial():
    """Its value is the smallest of the complete ones, in Optuna's study and in the table alike."""
    result = search()
    complete = [t for t in result.study.trials if t.state is optuna.trial.TrialState.COMPLETE]
    assert result.value == min(trial.value for trial in complete)
    table = result.trials
    assert len(table) == 4
    assert table.set_index("number").loc[result.trial, "value"] == result.value
    assert table.set_index("number").loc[result.trial, "params.lr"] == result.best.lr


def test_the_built_optimizer_and_scheduler_repeat_the_trial():
    """A plain loop with what ``build`` gives, on the study's weights and batches, ends at the same value."""
    from lrsearch.training.data import load_data
    from lrsearch.training.eager import build_model

    task = regression()
    result = search(task, optimizer={"name": "SGD", "momentum": 0.9})
    data, model = load_data(task, 32, torch.device("cpu")), build_model(task, 0, torch.device("cpu"))
    optimizer, scheduler = result.build(model)
    for epoch in range(4):
        for [(inputs, targets)] in data.updates(0, epoch):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            scheduler.step()
        with torch.no_grad():
            loss = nn.functional.mse_loss(model(INPUTS[128:]), TARGETS[128:]).item()
        scheduler.report(loss)
    assert loss == pytest.approx(result.value, rel=1e-5)


def test_a_schedule_is_stretched_to_another_run():
    """``build`` and ``code`` take the length of the run to come."""
    result = search(kinds=["LinearLR"], space={"warmup_fraction": 0.0})
    _optimizer, scheduler = result.build(linear(), epochs=10, steps_per_epoch=7)
    assert scheduler.schedule.total_steps == 70
    assert "total_iters=70" in result.code(epochs=10, steps_per_epoch=7)


def test_the_printed_code_builds_the_same_learning_rates():
    """The lines run with torch alone and start at the same rate."""
    result = search(optimizer="AdamW")
    namespace = {"torch": torch, "model": linear()}
    exec(result.code(), namespace)
    optimizer, _scheduler = result.build(linear())
    printed = [group["lr"] for group in namespace["optimizer"].param_groups]
    assert printed == pytest.approx([group["lr"] for group in optimizer.param_groups])


def test_a_name_goes_on_with_its_study_and_no_name_starts_a_new_one():
    """The budget may grow, nothing is trained twice, and unnamed studies stay apart."""
    first = search(name="mine", trials=2)
    again = search(name="mine", trials=3)
    assert [len(first.records), len(again.records)] == [2, 3]
    unnamed = {search(trials=1).spec.name for _ in range(2)}
    assert len(unnamed) == 2
    assert all(name.startswith("line-") for name in unnamed)


def test_a_named_study_refuses_another_specification():
    """What was searched before cannot silently become something else."""
    search(name="mine")
    with pytest.raises(StudyConflictError, match="seed"):
        search(name="mine", seed=1)


def test_the_command_line_sees_the_study_and_cannot_train_it():
    """``show`` needs no task; ``optimize`` says where the task is."""
    search(name="mine")
    assert "line (Python object)" in succeed("studies").out
    assert "Best trial" in succeed("show", "mine").out
    assert "lrsearch.optimize(task, name='mine'" in refused("optimize", "mine")


def test_a_task_may_be_named_or_referred_to():
    """A shipped name, and a file's reference, which the user's own program allows."""
    assert search("digits-mlp", trials=1, epochs=1).spec.task == "digits-mlp"
    Path("mine.py").write_text(
        "import torch, lrsearch\nx = torch.ones(64, 1)\n"
        "task = lrsearch.Task.from_tensors(lambda: torch.nn.Linear(1, 1), (x, x), (x, x), "
        "loss=torch.nn.functional.mse_loss, epochs=1)\n"
    )
    assert search("mine.py:task", trials=1).spec.task == "mine.py:task"


def test_groups_are_searched_and_built():
    """A factor per group is a parameter of the study, and the winner's groups keep it."""
    result = search(groups={"0.bias": {"lr_scale": {"low": 0.1, "high": 0.5}}})
    assert 0.1 <= result.best.lr_scales["0.bias"] <= 0.5
    optimizer, _scheduler = result.build(linear())
    scales = sorted(group["lr_scale"] for group in optimizer.param_groups)
    assert scales == [result.best.lr_scales["0.bias"], 1.0]


def test_a_range_test_bounds_the_search_once():
    """Its interval, widened, holds every lr; going on by name keeps the stored bounds."""
    task = regression()
    first = search(task, name="ranged", trials=2, range_test=True)
    low, high = first.spec.range_test.low, first.spec.range_test.high
    assert first.spec.space.lr.low == pytest.approx(low / 3, rel=0.1)
    assert first.spec.space.lr.high == pytest.approx(high * 3, rel=0.1)
    again = search(task, name="ranged", trials=3, range_test=True)
    assert again.spec.space.lr == first.spec.space.lr
    assert len(again.records) == 3


def failing_after(calls, epochs):
    """Return the regression with a model that raises from some call of its on."""
    made = []

    class Fails(nn.Linear):
        def forward(self, inputs):
            made.append(None)
            if len(made) > calls:
                raise ValueError("the sky fell")
            return super().forward(inputs).flatten()

    train, valid = (INPUTS[:128], TARGETS[:128]), (INPUTS[128:], TARGETS[128:])
    return lrsearch.Task.from_tensors(
        lambda: Fails(4, 1), train, valid, loss=nn.functional.mse_loss, epochs=epochs
    )


def test_a_search_whose_trials_all_fail_says_why():
    """The exception of the user's own code is named."""
    with pytest.raises(StudyStoppedError, match="the sky fell"):
        search(failing_after(20, epochs=30), trials=8)


def test_complete_trials_survive_later_failures():
    """What was found is returned, with a warning that says why the search ended early."""
    with pytest.warns(UserWarning, match="the sky fell"):
        result = search(failing_after(60, epochs=4), trials=12)
    assert math.isfinite(result.value)


def test_trials_that_differ_in_a_group_alone_are_all_trained():
    """A factor per layer is no repetition of the same learning rates."""
    spread = {"lr": 0.05, "kinds": ["constant"], "warmup_fraction": 0.0}
    groups = {"0.weight": {"lr_scale": [0.01, 0.1, 1.0]}, "layer_decay": [0.5, 1.0]}
    result = search(space=spread, groups=groups, sampler="grid", trials=6)
    assert len({record.value for record in result.records}) == 3  # one layer: its decay changes nothing
    assert not any(record.reason for record in result.records)


def test_a_search_whose_trials_all_diverge_says_what_helps():
    """Smaller learning rates, or broken data."""
    with pytest.raises(StudyStoppedError, match=r"3 of 3 diverged, with lr in 100..1000(.|\n)*range-test"):
        search(space={"lr": {"low": 100.0, "high": 1000.0}}, trials=3)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"optimizer": "adam"}, SpecError, "'Adam'"),
        ({"optimizer": torch.optim.Adam}, SpecError, "name of a class of torch.optim"),
        ({"task": nn.Linear(4, 1)}, TaskError, "from_tensors"),
        ({"optimizer": {"name": "Adam", "betas": [0.9, 0.99]}}, SpecError, "beta1 and beta2"),
        ({"optimizer": {"name": "SGD", "momentun": 0.9}}, SpecError, "'momentum'"),
        ({"kinds": ["Cosine"]}, InputError, "CosineAnnealingLR"),
        ({"trials": 0}, SpecError, "trials must be"),
        ({"groups": {"0.wieght": {"lr_scale": 0.1}}}, SpecError, "'0.weight'"),
        ({"batch_size": 1000}, SpecError, "128 training examples"),
        ({"sampler": "bayes"}, SpecError, "tpe"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_stored(arguments, error, words):
    """The rule and what helps; no study comes of it."""
    with pytest.raises(error, match=words):
        search(**arguments)
    assert succeed("studies", "--format", "json").json == []


def test_an_unknown_task_gets_the_nearest_name():
    """As on the command line."""
    with pytest.raises(UnknownNameError, match="Did you mean 'digits-mlp'"):
        search("digit-mlp")


def test_a_progress_bar_shows_the_best_value(capsys):
    """On the standard error; the standard output stays the program's own."""
    result = lrsearch.optimize(regression(), trials=3, kinds=["LinearLR"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "first trial left out" in printed.err
    assert "3/3" in printed.err
    assert f"best {result.value:.4g}" in printed.err


def test_without_progress_nothing_is_printed(capsys):
    """Not even what was decided on opening the study."""
    search(kinds=["LinearLR"])
    assert capsys.readouterr() == ("", "")


def test_a_result_says_itself_in_two_lines():
    """Printed in a notebook it is the study, its best trial and the hyperparameters."""
    result = search()
    assert repr(result).startswith(f"Study {result.spec.name}: best trial {result.trial} of 4")
    assert math.isfinite(result.value)


POWER = (
    "import lrsearch\n@lrsearch.schedule(power=lrsearch.Range(0.3, 3.0))\n"
    "def fade(progress, power):\n    return (1 - progress) ** power\n"
)


@pytest.fixture
def _no_own_schedules(monkeypatch):
    """Forget afterwards what was declared."""
    monkeypatch.setattr("lrsearch.schedules.kinds._registered", {})


@pytest.mark.usefixtures("_no_own_schedules")
def test_a_result_outlives_a_change_of_its_schedules_code():
    """In a notebook the file is edited and searched again; the first result still builds what it found."""
    Path("edited.py").write_text(POWER)
    first = search(kinds=["edited.py:fade"])
    code, lrs = first.code(), first.schedule().lrs(np.arange(16.0))
    Path("edited.py").write_text(POWER.replace("power", "p"))
    second = search(kinds=["edited.py:fade"])
    assert list(second.best.knobs) == ["p"]
    assert first.code() == code
    np.testing.assert_array_equal(first.schedule().lrs(np.arange(16.0)), lrs)
    assert first.build(linear())[1].schedule == first.schedule()
    assert repr(first).count("edited.py:fade(power") == 1


@pytest.mark.usefixtures("_no_own_schedules")
def test_a_study_is_not_gone_on_with_when_its_schedule_has_gained_a_parameter():
    """The stored trials have no value for it."""
    Path("gaining.py").write_text(POWER)
    search(name="mine", kinds=["gaining.py:fade"], trials=2)
    Path("gaining.py").write_text(POWER.replace("3.0)", "3.0), end=0.1").replace("power):", "power, end):"))
    with pytest.raises(StudyConflictError, match=r"gaining\.py:fade has gained end since study 'mine' began"):
        search(name="mine", kinds=["gaining.py:fade"], trials=4)
    search(name="new", kinds=["gaining.py:fade"], trials=2)
