"""``lrsearch submit``, ``pause``, ``resume``, ``stop``, and workers that share themselves among studies."""

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
from lrsearch.storage.workers import workers_alive
from tests.cli.commands import lrsearch, refused, succeed

# A task of the user's that leaves a trace when it is imported.
OWN_TASK = """
import pathlib, torch, lrsearch
pathlib.Path("imported").touch()
x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
y = x.sum(1, keepdim=True)
task = lrsearch.Task.from_tensors(
    lambda: torch.nn.Linear(3, 1), (x[:40], y[:40]), (x[40:], y[40:]),
    loss=torch.nn.functional.mse_loss, epochs=2,
)
"""


def status(name):
    """Return a study as programs are told of it."""
    [study] = succeed("status", name, "--format", "json").json["studies"]
    return study


def started(*arguments):
    """Start a worker in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lrsearch", "worker", "--device", "cpu", "--lanes", "1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])},
    )


def refused_to_train(name):
    """Run a worker that must be refused once it has looked at a study, and return the message."""
    outcome = lrsearch("worker", "--study", name)
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err
    return outcome.err.partition("Error: ")[2]


def holders(name):
    """Return the workers that trained a study's trials."""
    with open_database() as database:
        return set(Slots(database, find_study(database, name).uuid).workers_by_trial().values())


def test_a_study_that_is_submitted_waits_for_workers(study_file):
    """Nothing is trained; the same file again changes its priority and its number of workers alone."""
    out = succeed("submit", study_file(), "--priority", "5", "--max-workers", "2").out
    assert "Study s is stored: 3 of 3 trials wait for workers." in out
    assert "Train them, on any machine: lrsearch worker\n" in out
    shown = status("s")
    assert (shown["state"], shown["priority"], shown["max_workers"]) == ("open", 5, 2)
    assert (shown["budget"], shown["ended"], shown["trials"]["running"]) == (3, 0, 0)
    succeed("submit", study_file(), "--priority", "-1")
    assert (status("s")["priority"], status("s")["max_workers"]) == (-1, 2)
    succeed("submit", "s", "--max-workers", "0")
    assert (status("s")["priority"], status("s")["max_workers"], status("s")["budget"]) == (-1, None, 3)
    assert "seed" in refused("submit", study_file(seed=7))


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("stop", "stopped")])
def test_a_study_is_held_until_it_is_resumed(study_file, verb, state):
    """Nobody trains it by accident, and each refusal says what opens it; its priority may still change."""
    path = study_file()
    succeed("submit", path)
    assert "lrsearch resume s" in succeed(verb, "s").out
    assert status("s")["state"] == state
    for arguments in (("optimize", path), ("optimize", "s"), ("worker", "--study", "s")):
        message = refused(*arguments)
        assert f"study 's' is {state}" in message
        assert "lrsearch resume s" in message
    assert f"as soon as it is open: it is {state}" in succeed("submit", path, "--priority", "3").out
    assert (status("s")["state"], status("s")["priority"], status("s")["ended"]) == (state, 3, 0)
    assert "there is no work left" in succeed("worker").err
    succeed("resume", "s")
    succeed("worker", "--study", "s")
    assert (status("s")["state"], status("s")["ended"]) == ("done", 3)


@pytest.mark.parametrize("verb", ["pause", "resume", "stop"])
def test_a_study_that_does_not_exist_is_neither_held_nor_opened(study_file, verb):
    """The message has the nearest name."""
    succeed("submit", study_file("mnist-night.toml"))
    assert "Did you mean 'mnist-night'?" in refused(verb, "mnist-nigth")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lanes", "many"), "--lanes: run.lanes must be a whole number from 1 to 4096, or auto"),
        (("--device", "gpu"), "--device: run.device must be auto, cpu, mps, cuda or cuda:N"),
        (("--device", "cuda:99"), "device 'cuda:99' was asked for"),
        (("--timeout-s", "0"), "--timeout-s: run.timeout_s must be a finite number of seconds above 0"),
        (("--study", "nope"), "unknown study 'nope'"),
        (("--study", "s.toml"), "lrsearch submit s.toml"),
    ],
)
def test_a_worker_that_is_told_nonsense_leaves_at_once(study_file, arguments, message):
    """No study is blamed for it, and none is touched."""
    succeed("submit", study_file())
    assert message in refused("worker", *arguments)
    assert status("s")["ended"] == 0


def test_a_users_task_is_imported_by_workers_that_were_allowed_to(study_file):
    """Named, the study is refused, with what allows it; else it is left to others, in one line."""
    Path("net.py").write_text(OWN_TASK)
    succeed("submit", study_file(task="net.py:task", batch_size=10), "--allow-task", "net.py:task")
    Path("imported").unlink(missing_ok=True)
    assert "--allow-task net.py:task" in refused_to_train("s")
    [line] = [line for line in succeed("worker").err.splitlines() if "left to others" in line]
    assert "--allow-task net.py:task" in line
    assert not Path("imported").exists()
    assert status("s")["ended"] == 0
    succeed("worker", "--allow-task", "net.py:task")
    assert status("s")["ended"] == 3


def test_a_script_of_the_users_needs_its_command(study_file):
    """Workers that choose their studies leave it alone."""
    path = study_file(task="external")
    assert '--study s --command "python train.py"' in succeed("submit", path).out.replace("'", '"')
    assert "--command" in refused_to_train("s")
    assert status("s")["ended"] == 0


@pytest.mark.slow
def test_two_workers_share_themselves_among_two_studies(study_file):
    """One trains the study of the higher priority, which allows no other; that one takes the next."""
    succeed("submit", study_file("low.toml", trials=4, epochs=30))
    succeed("submit", study_file("high.toml", trials=4, epochs=30), "--priority", "9", "--max-workers", "1")
    with started("--name", "a") as first, started("--name", "b") as second:
        errors = [process.communicate(timeout=120)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], errors
    assert all("there is no work left" in text and "Traceback" not in text for text in errors)
    assert [status(name)["ended"] for name in ("high", "low")] == [4, 4]
    [of_high] = holders("high")
    by_name = dict(zip("ab", errors, strict=True))
    assert by_name[of_high].index("joins study high") > 0
    [other] = {"a", "b"} - {of_high}
    assert "joins study high" not in by_name[other]
    assert other in holders("low")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_asked_to_go_gives_its_trials_back(study_file, number):
    """After the epoch, with nothing held, and it counts as alive no more."""
    succeed("submit", study_file(trials=2, epochs=100_000))
    with started("--name", "a") as process:
        deadline = time.monotonic() + 60
        while status("s")["trials"]["running"] == 0 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert status("s")["trials"]["running"] == 1
        process.send_signal(number)
        _out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert "Stopping at the end of this epoch" in err
    assert status("s")["trials"]["running"] == 0
    with open_database() as database:
        assert workers_alive(database) == {}
