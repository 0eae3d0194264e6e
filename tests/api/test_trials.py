"""Trials that a function trains one after the other: several processes at once, and those that died."""

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import pytest
from torch import nn

from lrsearch.api.trials import train_trials
from lrsearch.errors import DatabaseLostError, StudyPausedError
from lrsearch.service.worker import Worker
from lrsearch.storage.database import open_database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import find_study
from lrsearch.storage.study_states import set_state

SPACE = {"lr": {"low": 0.01, "high": 1.0, "log": True}, "warmup_fraction": 0.0}


@pytest.fixture(autouse=True)
def storage(created_sqlite_url, monkeypatch):
    """Set the default database."""
    monkeypatch.setenv("LRSEARCH_STORAGE", created_sqlite_url)
    return created_sqlite_url


def searched(train, **changes):
    """Train two random trials of one epoch with a function, unless told otherwise."""
    given = {
        "trials": 2,
        "epochs": 1,
        "name": "s",
        "sampler": "random",
        "kinds": ["LinearLR"],
        "space": SPACE,
        "progress": False,
    }
    return train_trials(train, "lrsearch.test.optimize", **{**given, **changes})


def report_lr(trial):
    """Report a loss without training."""
    trial.build(nn.Linear(1, 1), steps_per_epoch=2)
    trial.report(1, trial.hyperparameters.lr)


SLOW = """
import sys, time
from torch import nn
from tests.api.test_trials import searched

def train(trial):
    print("began", flush=True)
    time.sleep(float(sys.argv[1]))
    trial.build(nn.Linear(1, 1), steps_per_epoch=2)
    trial.report(1, 0.001)

print(searched(train).trial)
"""


@contextmanager
def other_process(seconds):
    """Start a process that trains a trial of the same study, and wait until it has begun."""
    words = [sys.executable, "-c", SLOW, str(seconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout.readline() == "began\n"
        yield process


def test_a_study_that_is_paused_meanwhile_begins_no_other_trial(storage):
    """And the call says so, with the command that lets it go on."""
    begun = []

    def train(trial):
        begun.append(trial.number)
        report_lr(trial)
        with open_database(storage) as database:
            set_state(database, find_study(database, "s").uuid, "paused")

    with pytest.raises(StudyPausedError, match="lrsearch resume s"):
        searched(train, trials=4)
    assert begun == [0]


def test_a_lost_database_does_not_hide_the_functions_error(monkeypatch):
    """And is not asked again on the way out, as each question waits for minutes."""
    monkeypatch.setattr(Slots, "finish", lambda *_arguments: (_ for _ in ()).throw(DatabaseLostError()))
    monkeypatch.setattr(Slots, "release", lambda *_arguments: pytest.fail("it was asked again"))

    def train(_trial):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        searched(train)


def test_a_trial_that_another_process_trains_is_waited_for():
    """It may be the best: both processes return the same."""
    with other_process(5) as process:
        assert searched(report_lr).trial == 0
        out, _err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "0"


def test_a_trial_of_a_machine_that_died_is_taken_over(storage, monkeypatch):
    """Its lease is over, and nobody renews it while this process looks on."""
    with other_process(600) as process:
        process.kill()
    monkeypatch.setattr("lrsearch.api.trials.Worker", partial(Worker, lease_s=1.0))
    with open_database(storage) as database:
        uuid = find_study(database, "s").uuid
        foreign = "UPDATE lrsearch_workers SET machine = 'elsewhere'"
        database.transaction(lambda connection: connection.exec_driver_sql(foreign))
        over = "UPDATE lrsearch_slots SET lease_until = 1 WHERE lease_until IS NOT NULL"
        database.transaction(lambda connection: connection.exec_driver_sql(over))
        result = searched(report_lr)
        assert len(result.records) == 2
        assert all(each.state == "COMPLETE" for each in result.records)
        assert Slots(database, uuid).counts().leased == 0
