"""Eight processes on one SQLite file: nobody who runs them hears of a lock."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import lrsearch as package
from tests.cli.commands import succeed

PROCESSES = 8
TRIALS = 64
LOCKED_S = 7.0  # longer than the 5 s that Python's driver waits by itself


@pytest.mark.slow
def test_eight_processes_share_a_sqlite_file_and_no_lock_is_told(study_file):
    """They create one study, spend its budget exactly, and sit out another program's lock."""
    name = study_file(trials=TRIALS, epochs=1, space="warmup_fraction = 0.0")
    environment = os.environ | {
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "lrsearch", "optimize", name, "--workers", "1", "--quiet"]
    processes = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        for _ in range(PROCESSES)
    ]
    try:
        _hold_the_lock()
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * PROCESSES, "\n".join(outputs)
    assert "locked" not in "".join(outputs).lower()
    trials = succeed("trials", "s", "--format", "json").json
    assert [trial["number"] for trial in trials] == list(range(TRIALS))
    assert {trial["state"] for trial in trials} == {"COMPLETE"}
    with closing(sqlite3.connect("lrsearch.db")) as connection:
        epochs = connection.execute(
            "SELECT count(*), count(DISTINCT trial) FROM lrsearch_epoch_values WHERE name = 'valid_loss'"
        ).fetchone()
        holders = connection.execute("SELECT count(DISTINCT worker) FROM lrsearch_slots").fetchone()[0]
    assert epochs == (TRIALS, TRIALS)
    assert holders > 1


def _hold_the_lock():
    """Wait until a trial has begun, then hold the only lock under which SQLite writes."""
    with closing(sqlite3.connect("lrsearch.db", isolation_level=None, timeout=60)) as connection:
        deadline = time.monotonic() + 120
        while not connection.execute("SELECT count(*) FROM trials").fetchone()[0]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(LOCKED_S)
        connection.execute("ROLLBACK")
