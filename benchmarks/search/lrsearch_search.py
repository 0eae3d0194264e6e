"""``lrsearch optimize`` as a user runs it, watched from outside through its database."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.search.problem import Problem
from benchmarks.search.runs import Run

POLL_S = 0.1
GRACE_S = 20.0
_CURVES = "SELECT count(*), min(value) FROM lrsearch_epoch_values WHERE name = 'valid_loss'"


@dataclass(frozen=True)
class _Standing:
    """What a search has done: epochs trained, and its lowest validation loss."""

    epochs: int = 0
    best: float = math.inf


def lrsearch(problem: Problem) -> Run:
    """Run the command, and stop it when the loss is reached."""
    with tempfile.TemporaryDirectory() as folder:
        path, errors = Path(folder) / "lrsearch.db", Path(folder) / "errors.txt"
        begun = time.time()
        command = _started(problem, path, errors)
        try:
            while True:
                ended = command.poll() is not None
                seconds = time.time() - begun
                standing = _standing(path)
                reached = standing.best <= problem.target and seconds <= problem.cap_s
                if reached or ended or seconds > problem.cap_s:
                    break
                time.sleep(POLL_S)
        finally:
            _end(command)
        if ended and command.returncode and not reached:
            raise RuntimeError(f"lrsearch optimize ended with {command.returncode}:\n{errors.read_text()}")
    return Run(
        "lrsearch",
        problem.seed,
        problem.study,
        problem.target,
        problem.cap_s,
        reached,
        seconds if reached else problem.cap_s,
        standing.epochs,
        standing.best,
    )


def _started(problem: Problem, path: Path, errors: Path) -> "subprocess.Popen[str]":
    options = {
        "storage": f"sqlite:///{path}",
        "seed": problem.seed,
        "trials": problem.trials,
        "data-dir": problem.data_dir,
        "workers": problem.processes,
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with errors.open("w") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "lrsearch", "optimize", problem.study, *given, "--quiet"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            text=True,
            start_new_session=True,  # its workers end with it, also where it does not end by itself
        )


def _end(command: "subprocess.Popen[str]") -> None:
    """Stop the command, which ends after the epochs in training, and all its workers with it."""
    command.terminate()
    try:
        command.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()


def _standing(path: Path) -> _Standing:
    """Return what the database says; nothing before there is one."""
    if not path.exists():
        return _Standing()
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as connection:
            epochs, best = connection.execute(_CURVES).fetchone()
    except sqlite3.OperationalError:  # the tables are not there yet
        return _Standing()
    return _Standing(epochs, math.inf if best is None else best)
