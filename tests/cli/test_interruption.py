"""Ctrl-C and SIGTERM: the epoch ends, nothing is lost, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch as package
from lrsearch.cli.signals import stop_on_signal
from lrsearch.training.fused.array import FusedArray
from tests.cli.commands import lrsearch, succeed


def trials(name="s"):
    """Return a study's trials by number."""
    rows = succeed("trials", name, "--format", "json").json
    return {row["number"]: row for row in rows}


def interrupted_after(path, events, number):
    """Run a search in a process of its own, send it a signal after some events, and return what it said."""
    environment = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])}
    command = [sys.executable, "-m", "lrsearch", "optimize", path, "--log-format", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        lines = [process.stdout.readline() for _event in range(events)]
        process.send_signal(number)
        rest, err = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in [*lines, *rest.splitlines()]], err


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_search_that_is_interrupted_goes_on_to_its_budget(study_file, number):
    """Exit code 130; the released trial goes on where it was; never more trials than asked."""
    path = study_file(trials=3, epochs=60)
    code, events, err = interrupted_after(path, 75, number)  # early in the second trial
    assert code == 130
    assert "Stopping at the end of this epoch" in err
    assert "Go on with: lrsearch optimize s" in err
    assert "Traceback" not in err
    assert events[-1]["event"] == "stopped"
    assert events[-1]["reason"] == "INTERRUPTED"
    done = [event["number"] for event in events if event["event"] == "trial"]
    before = trials()
    [running] = [number for number, trial in before.items() if trial["state"] == "RUNNING"]
    assert sorted(before) == [*done, running]

    again = succeed("optimize", path, "--log-format", "json").events
    after = trials()
    first = next(event for event in again if event["event"] == "epoch")
    assert first["trial"] == running
    assert first["epoch"] >= before[running]["epochs"] > 1
    assert sorted(after) == list(range(3))
    assert {trial["state"] for trial in after.values()} == {"COMPLETE"}
    assert after[running]["params"] == before[running]["params"]
    assert [after[number] for number in done] == [before[number] for number in done]
    redone = [event["number"] for event in again if event["event"] == "trial"]
    assert sorted(done + redone) == list(range(3))
    epochs = succeed("curves", "s", "--format", "json").json
    assert sorted((epoch["trial"], epoch["epoch"]) for epoch in epochs) == [
        (number, epoch) for number in range(3) for epoch in range(1, 61)
    ]


def test_the_second_signal_stops_in_the_middle_of_an_epoch(study_file, monkeypatch):
    """Exit code 130 and the way on; the trial is released and starts again."""
    run_epoch = FusedArray.run_epoch

    def interrupted(_array):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return run_epoch(_array)

    path = study_file(trials=2)
    with monkeypatch.context() as patch:
        patch.setattr(FusedArray, "run_epoch", interrupted)
        outcome = lrsearch("optimize", path, "--quiet")
    assert outcome.code == 130
    assert "once more stops at once" in outcome.err
    assert "Go on with: lrsearch optimize s" in outcome.err
    [running] = trials().values()
    succeed("optimize", path, "--quiet")
    assert {number: trial["state"] for number, trial in trials().items()} == {0: "COMPLETE", 1: "COMPLETE"}
    assert trials()[0]["params"] == running["params"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_an_order(number, capsys):
    """Afterwards the handlers are those of before."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with stop_on_signal() as stop_requested:
        assert not stop_requested()
        os.kill(os.getpid(), number)
        assert stop_requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert {each: signal.getsignal(each) for each in before} == before
    assert "once more stops at once" in capsys.readouterr().err
