"""A study that was copied to another database goes on there, as if nothing had happened."""

import math
from pathlib import Path

import optuna
import pytest

from lrsearch.service.progress import StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import spec_from
from lrsearch.storage.copying import back_up, copy_database, restore
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.slots import Slots
from tests.service.arrays import FormulaArray, bowl

CONTENT = {
    "name": "s",
    "task": "digits-mlp",
    "trials": 12,
    "epochs": 5,
    "sampler": "random",
    "pruner": "none",
    "first_trials": False,
    "space": {"warmup_fraction": 0.0},
}
SPEC = resolved(spec_from(CONTENT, "test"))


def loss(hyperparameters, epoch):
    """Fall, diverge above a learning rate, and fail in a range of them."""
    if 0.02 < hyperparameters.lr < 0.05:
        raise RuntimeError("no such learning rate")
    return math.inf if hyperparameters.lr > 1 and epoch > 1 else bowl(hyperparameters, epoch)


def run(database, array):
    """Run the study to its end, and return its last progress."""
    *_, last = Search(database, open_study(database, SPEC), array, 3, 120.0).run()
    return last


def comparable(trial):
    """Return all that a trial holds but its id."""
    fields = "state params distributions intermediate_values user_attrs system_attrs values"
    return {name: getattr(trial, name) for name in [*fields.split(), "datetime_start", "datetime_complete"]}


def seen(database):
    """Return trials, curves, slots and attributes of the study as they are."""
    study = optuna.load_study(study_name="s", storage=database.optuna_storage)
    record = open_study(database, SPEC).record
    return {
        "trials": [comparable(trial) for trial in study.trials],
        "attributes": (study.user_attrs, study.direction, study.metric_names),
        "curves": curves(database, record.uuid),
        "results": Slots(database, record.uuid).results(),
        "record": (record.spec, record.run, record.created_at, record.uuid),
    }


@pytest.mark.parametrize("way", ["copy", "backup and restore"])
def test_a_study_that_is_copied_while_it_runs_goes_on_in_the_copy(created_url, empty_url, tmp_path, way):
    """Ended trials are equal, running ones are free, and the rest of the budget runs, on both sides."""
    moment, copied = {}, []

    def copy(array):
        if array.epochs != 8:
            return
        moment.update(seen(original))
        if way == "copy":
            copied.append(copy_database(created_url, empty_url))
        else:
            file = Path(tmp_path / "backup.db")
            copied.append(back_up(created_url, file, overwrite=False))
            copied.append(restore(file, empty_url))

    with open_database(created_url) as original:
        last = run(original, FormulaArray(loss, after_epoch=copy))
        assert last.stopped is StopReason.BUDGET
        finished = seen(original)
    assert [each.studies for each in copied] == [1] * len(copied)
    assert copied[0].released == 3
    with open_database(empty_url) as copy_of_it:
        assert seen(copy_of_it) == moment
        assert [trial["state"].name for trial in moment["trials"]].count("RUNNING") == 3
        counts = Slots(copy_of_it, moment["record"][-1]).counts()
        assert (counts.leased, counts.free) == (0, 12 - len(moment["results"]))
        second = FormulaArray(loss)
        last = run(copy_of_it, second)
        assert last.stopped is StopReason.BUDGET
        assert len(second.started) == 12 - len(moment["results"])
        again = seen(copy_of_it)
    assert outcomes(again) == outcomes(finished)
    assert {state for state, *_ in outcomes(again).values()} == {"COMPLETE", "PRUNED", "FAIL"}


def outcomes(study):
    """Return how the trials ended, by slot: what training and sampling make of them, without times."""
    return {
        trial["user_attrs"]["slot"]: (
            trial["state"].name,
            trial["values"],
            trial["params"],
            trial["intermediate_values"],
        )
        for trial in study["trials"]
    }
