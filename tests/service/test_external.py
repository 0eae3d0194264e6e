"""Trials of a user's script: exact budgets, the loop's own points and decisions, what a script may say."""

import json
import math
import time

import numpy as np
import optuna
import pytest

from lrsearch.errors import (
    BudgetSpentError,
    DatabaseSetupError,
    InputError,
    SpecError,
    TaskError,
    UnknownNameError,
)
from lrsearch.schedules import Hyperparameters
from lrsearch.service.external import NOTHING_REPORTED, budget_spent, next_trial, open_external, open_storage
from lrsearch.service.search import Search
from lrsearch.service.studies import enqueue, extend, open_study, resolved
from lrsearch.service.tasks import find_task
from lrsearch.service.trial_files import Assignment, Report, append, read_line
from lrsearch.service.worker import Worker
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.slots import Slots
from lrsearch.storage.trials import trial_records
from tests.service.arrays import FormulaArray, bowl

EPOCHS = 5


def make_spec(**keys):
    """Return a resolved specification of a small study of a script."""
    content = {"name": "s", "task": "external", "trials": 6, "epochs": EPOCHS, "sampler": "random"}
    space = {"warmup_fraction": 0.0}
    return resolved(
        spec_from({**content, "pruner": "none", "first_trials": False, "space": space, **keys}, "test")
    )


@pytest.fixture
def database(created_sqlite_url):
    """Return an open SQLite database."""
    with open_database(created_sqlite_url) as opened:
        yield opened


@pytest.fixture
def any_database(created_url):
    """Return an open database of each backend."""
    with open_database(created_url) as opened:
        yield opened


def worker_of(database, spec, lease_s=120.0):
    """Return a worker of a study."""
    return Worker(database, open_study(database, spec), "script", lease_s)


def train(trial, loss=bowl):
    """Report as a script does, until the trial is over or stopped, and end it."""
    points = trial.assignment.hyperparameters
    for epoch in range(1, trial.assignment.epochs + 1):
        if trial.report(Report(epoch, loss(next(iter(points.values())), epoch), {"accuracy": 0.5})):
            break
    return trial.finish()


def run(database, spec, loss=bowl):
    """Run a study to its end, one trial after the other, each in a worker of its own."""
    ended = []
    while True:
        with worker_of(database, spec) as worker:
            trial = next_trial(worker)
            if trial is None:
                return ended
            ended.append(train(trial, loss))


def records_of(database, spec):
    """Return the study's trials as they are shown."""
    return trial_records(database, open_study(database, spec).record)


@pytest.fixture
def begun(database):
    """Return the first trial of a study of one, held by a worker."""
    with worker_of(database, make_spec(trials=1)) as worker:
        yield next_trial(worker)


def test_a_study_ends_with_exactly_its_budget(any_database):
    """Six slots make six complete trials with the last loss as value, their epochs and their figures."""
    ended = run(any_database, make_spec())
    records = records_of(any_database, make_spec())
    assert [record.state for record in records] == ["COMPLETE"] * 6
    for trial, record in zip(ended, records, strict=True):
        assert record.value == trial.result.value == bowl(trial.hyperparameters, EPOCHS)
    stored = curves(any_database, open_study(any_database, make_spec()).record.uuid)
    assert [(epoch.trial, epoch.epoch) for epoch in stored] == [
        (number, epoch) for number in range(6) for epoch in range(1, EPOCHS + 1)
    ]
    assert all(epoch.metrics == {"accuracy": 0.5} and math.isnan(epoch.train_loss) for epoch in stored)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("pruner", ["asha", "median", "first-epochs"])
def test_a_script_gets_the_loops_points_and_decisions(database, sampler, pruner):
    """With equal losses, trials have the parameters, states, values and epochs that the loop gives them."""
    keys = {"sampler": sampler, "pruner": pruner, "trials": 12, "epochs": 8, "first_trials": True}
    run(database, make_spec(**keys))
    inside = make_spec(**keys, name="inside", task="digits-mlp", batch_size=32)
    list(Search(database, open_study(database, inside), FormulaArray(), lanes=1).run())
    script, loop = (
        [(each.params, each.state, each.value, each.epochs) for each in records_of(database, spec)]
        for spec in (make_spec(**keys), inside)
    )
    assert script == loop
    assert "PRUNED" in {state for _params, state, _value, _epochs in script}


@pytest.mark.parametrize(
    "report", [Report(2, math.nan), Report(2, math.inf), Report(2, 9.5, diverged_above=9.0)], ids=str
)
def test_a_script_diverges(begun, report):
    """A loss that is not finite, or above the bound it was given, ends the trial with the value inf."""
    assert begun.report(Report(1, 9.5)) is None
    assert begun.report(report).startswith("trial 0 diverged at epoch 2, with validation loss")
    result = begun.finish("it also failed").result
    assert (result.outcome.value, result.value, result.diverged, result.epochs) == (
        "PRUNED",
        math.inf,
        True,
        2,
    )


def test_what_is_reported_after_the_end_changes_nothing(begun, database):
    """A script that goes on after it was stopped hears the reason again, and nothing is stored."""
    reason = begun.report(Report(1, math.nan))
    assert begun.report(Report(2, 0.1)) == reason
    assert begun.report(Report(1, 0.1)) == reason
    begun.finish()
    assert len(curves(database, open_study(database, make_spec(trials=1)).record.uuid)) == 1


def test_a_script_may_stop_early(begun):
    """The trial is COMPLETE with its last loss, after however many epochs."""
    begun.report(Report(1, 0.5))
    begun.report(Report(3, 0.25))
    result = begun.finish().result
    assert (result.outcome.value, result.value, result.epochs) == ("COMPLETE", 0.25, 3)


def test_a_script_may_prune_itself(begun):
    """The trial is PRUNED with its last loss."""
    begun.report(Report(1, 0.5))
    begun.prune()
    result = begun.finish().result
    assert (result.outcome.value, result.value, result.epochs) == ("PRUNED", 0.5, 1)


def test_a_failure_keeps_its_reason(begun):
    """The trial is FAIL, has no value and no hold on its slot."""
    begun.report(Report(1, 0.5))
    result = begun.finish("ValueError: shapes").result
    assert (result.outcome.value, result.value, result.epochs) == ("FAIL", None, 1)
    assert result.reason == "ValueError: shapes"


def test_a_trial_without_a_report_has_failed(begun):
    """The reason says what is missing."""
    result = begun.finish().result
    assert (result.outcome.value, result.reason) == ("FAIL", NOTHING_REPORTED)


@pytest.mark.parametrize("epochs", [(1, 1), (2, 1), (EPOCHS + 1,)], ids=str)
def test_epochs_rise_up_to_the_trials_length(begun, epochs):
    """An epoch that cannot follow the last one is refused, and not stored."""
    for epoch in epochs[:-1]:
        begun.report(Report(epoch, 0.5))
    with pytest.raises(InputError, match=f"from 1 to the trial's {EPOCHS}; got epoch {epochs[-1]} after"):
        begun.report(Report(epochs[-1], 0.25))
    assert begun.shown.epoch == max(epochs[:-1], default=0)


def test_a_script_that_lost_its_lease_is_told_and_writes_nothing(database):
    """Another worker took the slot: the report says so, and neither epoch nor result is stored."""
    spec = make_spec(trials=1)
    with worker_of(database, spec) as worker:
        late = next_trial(worker)
        late.report(Report(1, 0.5))
        database.transaction(lambda c: c.exec_driver_sql("UPDATE lrsearch_slots SET lease_until = 0"))
        [stolen] = Slots(database, worker.study.record.uuid).claim("thief", 1)
        assert "taken over by another worker" in late.report(Report(2, 0.25))
        assert late.finish() is None
    assert Slots(database, worker.study.record.uuid).renew([stolen]) == [stolen]
    assert [epoch.epoch for epoch in curves(database, worker.study.record.uuid)] == [1]


def test_a_killed_scripts_trial_is_continued(database):
    """When its lease runs out, the next script gets the same trial and point, from its beginning."""
    spec = make_spec(trials=2)
    killed = worker_of(database, spec, lease_s=0.3)
    dead = next_trial(killed)
    dead.report(Report(1, 0.5))
    with worker_of(database, spec, lease_s=0.6) as worker:
        train(next_trial(worker))
        assert "1 of them run elsewhere" in str(budget_spent(worker))
        deadline = time.monotonic() + 10
        while (again := next_trial(worker)) is None:  # until it has been in touch for a whole lease
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert again.assignment == dead.assignment
        train(again)
    assert [record.epochs for record in records_of(database, spec)] == [EPOCHS, EPOCHS]
    assert run(database, spec) == []


def test_a_released_trial_keeps_its_point(database):
    """It begins anew where it is claimed next; the budget stays exact."""
    spec = make_spec(trials=2)
    with worker_of(database, spec) as worker:
        first = next_trial(worker)
        first.report(Report(1, 0.5))
        first.release()
    with worker_of(database, spec) as worker:
        assert next_trial(worker).assignment == first.assignment
    assert len(run(database, spec)) == 2


def test_leaving_a_worker_releases_its_trial(database):
    """Whatever ended the script, no slot stays leased."""
    with worker_of(database, make_spec()) as worker:
        next_trial(worker)
        assert worker.slots.counts().leased == 1
    assert worker.slots.counts().leased == 0


def test_others_losses_count_from_the_moment_they_are_stored(database):
    """A trial is judged by what other scripts have reported since it began."""
    spec = make_spec(trials=6, pruner="asha")
    with worker_of(database, spec) as early, worker_of(database, spec) as other:
        slow = next_trial(early)
        for _trial in range(4):
            train(next_trial(other), lambda _point, epoch: 0.1 / epoch)
        assert "was pruned at epoch 1" in slow.report(Report(1, 5.0))


def test_a_wider_study_reaches_the_next_trial(database):
    """More trials and an enqueued point are there for a worker that began before."""
    with worker_of(database, make_spec(trials=1)) as worker:
        train(next_trial(worker))
        assert next_trial(worker) is None
        extend(database, "s", trials=1, lr_high=50.0)
        enqueue(database, "s", {"lr": 20.0})
        assert next_trial(worker).assignment.hyperparameters[None].lr == 20.0


def test_a_spent_budget_says_how_to_extend_it(database):
    """With a command that can be pasted, but for a password."""
    spec = make_spec(trials=1, name="my study")
    run(database, spec)
    with worker_of(database, spec) as worker:
        error = budget_spent(worker)
    assert isinstance(error, BudgetSpentError)
    assert str(error).startswith("all 1 trials of study 'my study' have ended. Add some: lrsearch extend")
    assert f"extend 'my study' --trials +10 --storage {database.masked_url}" in str(error)


# Parts


@pytest.mark.parametrize("sampler", ["tpe", "random", "quasi-random", "genetic", "particle-swarm", "grid"])
def test_every_part_has_a_space_of_its_own(database, sampler):
    """Each trial gives each part a whole point of the one space, under canonical names of its own."""
    lr = [0.01, 0.1, 1.0] if sampler == "grid" else {"low": 1e-3, "high": 1.0, "log": True}
    space = {"lr": lr, "warmup_fraction": 0.0, "kinds": ["StepLR", "LinearLR"]}
    space |= {"StepLR": {"step_fraction": 0.3, "gamma": [0.1, 0.5]}, "LinearLR": {"end_factor": 0.0}}
    spec = make_spec(parts=["generator", "critic"], sampler=sampler, trials=12, space=space)
    ended = run(database, spec)
    for trial, record in zip(ended, records_of(database, spec), strict=True):
        assert list(trial.parts) == ["generator", "critic"]
        assert trial.hyperparameters == trial.parts["generator"]
        for part, point in trial.parts.items():
            assert record.params[f"{part}/lr"] == point.lr
            assert record.params[f"{part}/kind"] == point.kind
            assert (f"{part}/StepLR.gamma" in record.params) == (point.kind == "StepLR")
        assert {name.partition("/")[0] for name in record.params} == {"generator", "critic"}
    lrs = np.log10([[point.lr for point in trial.parts.values()] for trial in ended])
    assert len({tuple(each) for each in lrs}) > 1
    assert (lrs[:, 0] != lrs[:, 1]).any()


def test_first_trials_give_every_part_the_recipe(database):
    """They come first, are not pruned, and count in the budget."""
    spec = make_spec(parts=["a", "b"], first_trials=True, pruner="asha", trials=4, space={})
    ended = run(database, spec, lambda _point, epoch: 1.0 + epoch)
    assert [trial.parts["a"].kind for trial in ended[1:]] == ["LinearLR", "CosineAnnealingLR", "WSD"]
    assert all(trial.parts["a"] == trial.parts["b"] for trial in ended)
    assert {trial.result.outcome.value for trial in ended} == {"COMPLETE"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"epochs": None}, 'epochs is missing: where task = "external"'),
        ({"batch_size": 32}, "batch_size belongs into your own script"),
        ({"parts": ["a", "a"]}, "parts must not repeat a name"),
        ({"parts": ["a", "b"], "task": "digits-mlp"}, 'parts are for task = "external"'),
        ({"parts": ["a", "b"], "sampler": "coarse-to-fine"}, "scans one learning rate"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(keys, message):
    """Each with its rule."""
    with pytest.raises(SpecError, match=message):
        make_spec(**keys)


def test_lrsearch_does_not_train_a_script_itself():
    """Whoever asks for the task is told what to do instead."""
    with pytest.raises(TaskError, match="lrsearch worker --study NAME_OR_FILE --command"):
        find_task(make_spec())


def test_the_updates_of_an_epoch_are_kept_by_part(database):
    """So that the best trial can be written as PyTorch."""
    spec = make_spec(parts=["a", "b"], trials=1)
    with worker_of(database, spec) as worker:
        trial = next_trial(worker)
        trial.built(10, "a")
        trial.built(20, "b")
        with pytest.raises(UnknownNameError, match="unknown part 'c'"):
            trial.built(10, "c")
        with pytest.raises(InputError, match="steps_per_epoch must be a whole number"):
            trial.built(0, "a")
    attributes = optuna.load_study(study_name="s", storage=database.optuna_storage).user_attrs
    assert attributes["lrsearch:steps_per_epoch/a"] == 10
    assert attributes["lrsearch:steps_per_epoch/b"] == 20


# Opening


def test_a_file_creates_its_study_and_a_name_finds_it(tmp_path, created_sqlite_url):
    """Both mean the same study from then on."""
    file = tmp_path / "gan.toml"
    file.write_text('task = "external"\ntrials = 3\nepochs = 2\n')
    with open_storage(str(file), created_sqlite_url) as database:
        assert open_external(database, str(file)).record == open_external(database, "gan").record
        assert open_external(database, "gan", timeout_s=5.0).spec.run.timeout_s == 5.0
        with pytest.raises(UnknownNameError, match="unknown study 'gann'"):
            open_external(database, "gann")


def test_a_study_of_a_task_is_not_the_scripts(tmp_path, created_sqlite_url):
    """It names the command that trains it."""
    file = tmp_path / "digits.toml"
    file.write_text('task = "digits-mlp"\ntrials = 3\n')
    with (
        open_database(created_sqlite_url) as database,
        pytest.raises(InputError, match="is trained by: lrsearch optimize digits"),
    ):
        open_external(database, str(file))


def test_a_name_makes_no_database(tmp_path):
    """A stored study is asked of a database that exists."""
    with pytest.raises(DatabaseSetupError, match="Give the path of a study file instead"):
        open_storage("gan", f"sqlite:///{tmp_path}/new.db")
    assert not (tmp_path / "new.db").exists()


# Files


def test_an_assignment_reads_back_as_it_was_written(database, tmp_path):
    """Kind, knobs, optimizer, scales and frozen patterns of every part."""
    scale = {"lr_scale": {"low": 0.1, "high": 1.0}}
    groups = {"layer_decay": 0.9, "head.*": scale, "stem.*": {"frozen": True}}
    for parts in (None, ["a", "b"]):
        spec = make_spec(
            name=f"s{parts is None}", parts=parts, groups=groups, trials=10, optimizer={"name": "Adam"}
        )
        with worker_of(database, spec) as worker:
            while trial := next_trial(worker):
                trial.assignment.write(tmp_path / "trial.json")
                assert Assignment.read(tmp_path / "trial.json") == trial.assignment
                train(trial)


def test_a_trial_file_has_plain_values_and_ready_arguments(tmp_path):
    """A script in any language can read it."""
    points = {None: Hyperparameters(0.1, "StepLR", optimizer={"beta1": 0.8, "beta2": 0.9})}
    Assignment("s", 3, 5, "Adam", points).write(tmp_path / "trial.json")
    content = json.loads((tmp_path / "trial.json").read_text())
    assert content["study"] == "s"
    assert content["hyperparameters"]["StepLR.gamma"] == 0.1
    assert content["optimizer"]["name"] == "Adam"
    assert content["optimizer"]["arguments"]["lr"] == 0.1
    assert content["optimizer"]["arguments"]["betas"] == [0.8, 0.9]


def test_a_trial_file_that_is_gone_is_explained(tmp_path):
    """The variables of a worker that ended may linger in a shell."""
    with pytest.raises(InputError, match="unset LRSEARCH_TRIAL_FILE LRSEARCH_REPORT_FILE"):
        Assignment.read(tmp_path / "trial.json")


def test_a_report_is_its_line(tmp_path):
    """What a script appends reads back, numbers that JSON does not know included."""
    for report in (Report(1, 0.5, {"lr": 0.1}), Report(2, math.inf, {"loss": -1.0}, 7.0)):
        append(tmp_path / "reports", report.line())
        line = (tmp_path / "reports").read_text().splitlines()[-1]
        assert Report.of(read_line(1, line)) == report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1}, "needs epoch and valid_loss"),
        ({"valid_loss": 0.5}, "needs epoch and valid_loss"),
        ({"epoch": 0, "valid_loss": 0.5}, "epoch must be a whole number from 1, but got 0"),
        ({"epoch": 1.5, "valid_loss": 0.5}, "epoch must be a whole number from 1, but got 1.5"),
        ({"epoch": True, "valid_loss": 0.5}, "epoch must be a whole number from 1, but got True"),
        ({"epoch": 1, "valid_loss": "low"}, "valid_loss must be one number, but got 'low'"),
        ({"epoch": 1, "valid_loss": None}, "valid_loss must be one number, but got None"),
        ({"epoch": 1, "valid_loss": 0.5, "figures": [1, 2]}, r"figures must be one number, but got \[1, 2\]"),
    ],
)
def test_a_report_that_is_none_is_refused(content, message):
    """Each with its rule and what was got."""
    with pytest.raises(InputError, match=message):
        Report.of(content)


@pytest.mark.parametrize("line", ["epoch 1", "[1, 0.5]", '{"epoch": 1', "7"])
def test_a_line_that_is_no_object_is_refused(line):
    """With its number and its text."""
    with pytest.raises(InputError, match="line 4 of LRSEARCH_REPORT_FILE must be a JSON object"):
        read_line(4, line)


def test_texts_that_databases_refuse_are_kept_without_what_they_refuse(database):
    """A failure's reason is told all the same; halves of characters and the character 0 are left out."""
    with worker_of(database, make_spec(trials=1)) as worker:
        ended = next_trial(worker).finish("no \ud800\0 data")
    assert ended.result.reason == "no ? data"
    [record] = records_of(database, make_spec(trials=1))
    assert record.reason == "no ? data"
