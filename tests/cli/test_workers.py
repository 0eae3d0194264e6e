"""Several worker processes on the command line: whole lines, one message, and a clean end by a signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lrsearch as package
from lrsearch.storage.database import open_database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import find_study
from lrsearch.storage.workers import list_workers
from tests.cli.commands import refused, strict_json, succeed

# Once it has a trial, the first process waits until each of the others has one too, or has gone.
NET = """
import multiprocessing, os, pathlib, sqlite3, time, torch, lrsearch
OTHERS, EPOCHS, BROKEN, PATIENCE_S = 1, 3, False, 60
DEADLINE = time.monotonic() + PATIENCE_S
FIRST = multiprocessing.parent_process() is None
here = pathlib.Path()
x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
y = x.sum(1, keepdim=True)
if not FIRST:
    print("noise")
    (here / f"came-{os.getpid()}").touch()
    if BROKEN:
        raise RuntimeError("not twice")
def runs(pid):
    status = pathlib.Path("/proc", pid, "status")
    return status.exists() and "State:\\tZ" not in status.read_text()
def alone():
    with sqlite3.connect("lrsearch.db") as database:
        query = "select count(distinct worker) from lrsearch_slots"
        holders = database.execute(query).fetchone()[0]
    gone = [path for path in here.glob("came-*") if not runs(path.name.removeprefix("came-"))]
    return holders >= 1 and holders - 1 + len(gone) < OTHERS
def loss(outputs, targets):
    while FIRST and alone() and time.monotonic() < DEADLINE:
        time.sleep(0.05)
    return torch.nn.functional.mse_loss(outputs, targets)
task = lrsearch.Task.from_tensors(
    lambda: torch.nn.Linear(3, 1), (x[:160], y[:160]), (x[160:], y[160:]), loss=loss, epochs=EPOCHS,
)
@lrsearch.schedule(power=lrsearch.Range(0.5, 2.0))
def falling(progress, power):
    return (1 - progress) ** power
"""
OWN = """
task = "net.py:task"
trials = 6
sampler = "random"
pruner = "none"
first_trials = false
[space]
lr = { low = 0.001, high = 0.1, log = true }
warmup_fraction = 0.0
kinds = ["net.py:falling"]
[run]
lanes = 1
device = "cpu"
"""
ALLOWED = ("--allow-task", "net.py:task", "--allow-task", "net.py:falling")


def write(others=1, epochs=3, *, broken=False):
    """Write a study of a task and a schedule of the user's own."""
    Path("net.py").write_text(NET.replace("= 1, 3, False, ", f"= {others}, {epochs}, {broken}, "))
    Path("own.toml").write_text(OWN)


def started(*arguments):
    """Start a command in a session of its own, as a shell does in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])},
        start_new_session=True,
    )


def lines_until(process, condition):
    """Read lines of JSON until the events so far fulfil a condition."""
    events = []
    while not condition(events):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        events.append(strict_json(line))
    return events


def two_lanes(events):
    """Return whether two trials are in training, one of them by another worker."""
    return len({event["trial"] for event in events if event["event"] == "epoch"}) >= 2


def held(name):
    """Return how many slots of a study are leased, and the process ids of its workers."""
    with open_database() as database:
        uuid = find_study(database, name).uuid
        return Slots(database, uuid).counts().leased, [each.pid for each in list_workers(database, uuid)]


def is_alive(pid):
    """Return whether a process runs."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_all_workers_and_leaves_nothing_held(number):
    """Ctrl-C reaches them all, SIGTERM the first one; exit code 130, one message, whole lines of JSON."""
    write(epochs=5000)
    process = started("optimize", "own.toml", "--workers", "2", "--log-format", "json", *ALLOWED)
    with process:
        events = lines_until(process, two_lanes)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.count("Stopping at the end of this epoch") == 1
    assert "Go on with: lrsearch optimize own --allow-task net.py:task --allow-task net.py:falling" in err
    assert "Traceback" not in err
    assert "noise" in err  # what a worker prints disturbs no line
    events += map(strict_json, out.splitlines())
    assert events[-1]["event"] == "stopped"
    assert events[-1]["reason"] == "INTERRUPTED"
    leased, pids = held("own")
    assert leased == 0
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


@pytest.mark.slow
def test_workers_end_when_the_first_one_is_killed():
    """Though nobody tells them; they release their trials."""
    write(epochs=5000)
    with started("optimize", "own.toml", "--workers", "2", "--log-format", "json", *ALLOWED) as process:
        lines_until(process, two_lanes)
        process.kill()
        [other] = [pid for pid in held("own")[1] if pid != process.pid]
        deadline = time.monotonic() + 30
        while is_alive(other) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(other)
        assert "Traceback" not in process.stderr.read()
    assert held("own")[0] == 1  # the trial of the one that was killed


def test_workers_train_a_task_and_schedules_of_ones_own():
    """Found again by the names that were allowed; the budget is exact, and each end is told once."""
    write()
    outcome = succeed("optimize", "own.toml", "--workers", "2", "--log-format", "json", *ALLOWED)
    ended = [event["number"] for event in outcome.events if event["event"] == "trial"]
    assert sorted(ended) == list(range(6))
    assert outcome.events[-1]["ended"] == {"COMPLETE": 6, "diverged": 0}
    assert len(held("own")[1]) == 2
    trials = succeed("trials", "own", "--format", "json").json
    assert sorted(trial["number"] for trial in trials) == list(range(6))
    assert min(trial["value"] for trial in trials) == outcome.events[-1]["best"]["value"]


@pytest.mark.slow
def test_a_worker_that_cannot_import_the_task_is_told_of_once():
    """Its file and the error, not for every worker; the first one does their part."""
    write(others=2, broken=True)
    outcome = succeed("optimize", "--task", "net.py:task", "--trials", "4", "--workers", "3")
    assert outcome.err.count("a worker process has ended, and the search goes on without it") == 1
    assert "net.py cannot be imported" in outcome.err
    assert "RuntimeError: not twice" in outcome.err
    assert "4 of 4 trials" in outcome.out


def test_one_worker_and_few_trials_start_no_process(study_file, monkeypatch):
    """As asked, or because it would not pay."""
    monkeypatch.setattr("lrsearch.service.supervisor.OtherWorker", None)
    assert "3 of 3" in succeed("optimize", study_file(), "--name", "one", "--workers", "1").out
    assert "3 of 3" in succeed("optimize", study_file(), "--name", "auto").out


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ("many", "--workers must be a whole number of at least 1, or auto, but got 'many'"),
        ("0", "option --workers: run.workers must be a whole number from 1 to 1024, or auto"),
    ],
)
def test_a_number_of_workers_that_cannot_be_is_refused(study_file, workers, words):
    """With what it can be."""
    assert words in refused("optimize", study_file(), "--workers", workers)
