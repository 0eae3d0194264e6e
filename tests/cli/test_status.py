"""What ``lrsearch status`` and ``lrsearch worker-health`` show."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from lrsearch.results import Outcome, TrialResult
from lrsearch.storage import clock
from lrsearch.storage.database import open_database
from lrsearch.storage.process import ProcessIdentity
from lrsearch.storage.slots import LEASE_S, Slots
from lrsearch.storage.studies import create_study
from lrsearch.storage.tables import StudyRow, WorkerRow
from lrsearch.storage.workers import join_study
from tests.cli.commands import lrsearch, refused, strict_json, succeed


@pytest.fixture
def running(created_url):
    """URL of a database with two studies; of the first one two of four trials have ended, one runs."""
    with open_database(created_url) as database:
        study = create_study(database, "first", {"task": "digits"}, 4)
        create_study(database, "second", {"task": "digits"}, 2)
        join_study(database, study.uuid, "node-1", ProcessIdentity("machine", "node", 7, 0.0), "cuda:0")
        slots = Slots(database, study.uuid)
        ends = (TrialResult(Outcome.COMPLETE, 0.25, 3), TrialResult(Outcome.FAIL, None, 0, reason="broken"))
        slots.finish(list(zip(slots.claim("node-1", 2), ends, strict=True)))
        slots.claim("node-1", 1)
    return created_url


def change(url, row, **values):
    """Change all rows of a table."""
    with open_database(url) as database:
        database.transaction(lambda connection: connection.execute(sa.update(row).values(**values)))


def see(url, seconds_ago):
    """Let all workers have been seen so long ago."""
    with open_database(url) as database:
        now = database.read(clock.naive_utc)
    change(url, WorkerRow, seen_at=now - timedelta(seconds=seconds_ago))


def test_a_line_for_each_study(running):
    """With state, trials, workers and best value."""
    header, first, second = succeed("status", "--storage", running).out.splitlines()
    assert header.split()[:5] == ["study", "state", "trials", "running", "workers"]
    assert first.split()[:5] == ["first", "open", "2/4", "1", "1"]
    assert second.split() == ["second", "open", "0/2", "0", "0", "-", "-", "-"]


def test_priorities_are_shown_where_there_are_any(running):
    """In a column of their own."""
    assert "priority" not in succeed("status", "--storage", running).out
    change(running, StudyRow, priority=5)
    header, first, _second = succeed("status", "--storage", running).out.splitlines()
    assert (header.split()[-1], first.split()[-1]) == ("priority", "5")


def test_one_study_is_shown_with_its_workers(running):
    """And with the reason of its state, and how much work may share it."""
    change(running, StudyRow, state="failing", state_reason="five trials in a row have failed", max_workers=3)
    out = succeed("status", "first", "--storage", running).out
    assert "Study first is failing: five trials in a row have failed" in out
    assert "Trials: 2 of 4 have ended (1 complete, 1 fail), 1 running" in out
    assert "Best value: 0.25" in out
    assert "workers: 1 of 3" in out
    last = out.splitlines()[-1].split()
    assert (last[:3], last[-1]) == (["node-1", "node", "cuda:0"], "1")


def test_a_worker_that_left_is_shown_no_more(running):
    """Nor is one that is silent for longer than its lease; what it holds is said to be held by such."""
    see(running, LEASE_S + 10)
    out = succeed("status", "first", "--storage", running).out
    assert "node-1" not in out
    assert "Rate: -, time left: -" in out


def test_as_json(running):
    """One object, as documented: trials add up to the budget, the rate promises an end."""
    found = succeed("status", "--format", "json", "--storage", running).json
    first, second = found["studies"]
    assert (first["name"], first["state"], first["budget"], first["ended"]) == ("first", "open", 4, 2)
    assert first["trials"] == {
        "complete": 1,
        "pruned": 0,
        "diverged": 0,
        "fail": 1,
        "running": 1,
        "expired": 0,
        "free": 1,
    }
    assert first["best_value"] == 0.25
    assert first["remaining_s"] == pytest.approx(60 * 2 / first["rate_per_min"])
    [worker] = first["workers"]
    assert (worker["name"], worker["device"], worker["pid"], worker["trials"]) == ("node-1", "cuda:0", 7, 1)
    assert (second["rate_per_min"], second["remaining_s"], second["workers"]) == (None, None, [])
    [alone] = succeed("status", "second", "--format", "json", "--storage", running).json["studies"]
    assert alone == second


def test_a_study_that_has_used_up_its_budget_is_done(database, created_url):
    """Whatever state it was left in, and without a rate."""
    study = create_study(database, "study", {"task": "digits"}, 1)
    join_study(database, study.uuid, "node-1", ProcessIdentity("machine", "node", 7, 0.0), "cpu")
    slots = Slots(database, study.uuid)
    slots.finish([(slots.claim("node-1", 1)[0], TrialResult(Outcome.COMPLETE, 0.25, 3))])
    [found] = succeed("status", "--format", "json", "--storage", created_url).json["studies"]
    assert (found["state"], found["rate_per_min"], found["remaining_s"]) == ("done", None, None)


def test_no_password_is_shown(postgresql_url):
    """Neither of a database with studies, nor in an error."""
    open_database(postgresql_url).close()
    password = sa.make_url(postgresql_url).password
    found = lrsearch("status", "--format", "json", "--storage", postgresql_url)
    assert "***" in found.json["storage"]
    assert password not in found.out + found.err
    assert password not in refused("status", "nobody", "--storage", postgresql_url)


def test_without_a_database_there_is_no_study(tmp_path):
    """That is no error, but a study that was named is missed."""
    url = f"sqlite:///{tmp_path}/none.db"
    assert "No study yet" in succeed("status", "--storage", url).out
    assert succeed("status", "--format", "json", "--storage", url).json == {"storage": url, "studies": []}
    assert "there is no database" in refused("status", "first", "--storage", url)
    assert not (tmp_path / "none.db").exists()


def test_an_unknown_study_is_refused_with_the_nearest(running):
    """As by every command."""
    assert "Did you mean 'first'?" in refused("status", "frist", "--storage", running)


def _interruptible():
    """Take Ctrl-C as a program that was started at a terminal does, whatever the tests' process does."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("format", "lines"), [("table", 2), ("json", 2)])
def test_watching_prints_again_until_it_is_interrupted(running, format, lines):  # noqa: A002 # the option's name
    """Off a terminal line by line; Ctrl-C is how it is meant to end."""
    command = [sys.executable, "-m", "lrsearch", "status", "--watch", "--format", format]
    environment = os.environ | {"LRSEARCH_STORAGE": running}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_interruptible,  # it touches no lock
    ) as process:
        first = [process.stdout.readline() for _line in range(lines)]
        see(running, LEASE_S + 10)
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "first" in first[-1] or strict_json(first[0])["studies"][0]["workers"]
    assert "first" in out
    if format == "json":
        assert strict_json(out.splitlines()[-1])["studies"][0]["workers"] == []


def test_the_health_of_a_worker_is_an_exit_code(running):
    """0 while it is seen within a lease; 1 when it is silent, has left, or was never seen."""
    assert succeed("worker-health", "node-1", "--storage", running).out.startswith("Worker node-1 is alive")
    unknown = lrsearch("worker-health", "node-2", "--storage", running)
    assert (unknown.code, unknown.err) == (1, "")
    assert "No worker 'node-2' is known. Did you mean 'node-1'?" in unknown.out
    see(running, LEASE_S + 10)
    silent = lrsearch("worker-health", "node-1", "--storage", running)
    assert (silent.code, "is silent for longer than its lease of 120 s" in silent.out) == (1, True)
    change(running, WorkerRow, left_at=WorkerRow.seen_at)
    left = lrsearch("worker-health", "node-1", "--storage", running)
    assert (left.code, "has left" in left.out) == (1, True)
