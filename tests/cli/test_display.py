"""What a running search shows: a live view on a terminal, plain lines elsewhere."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

import lrsearch as package
from lrsearch.cli.display import LiveDisplay, PlainDisplay, choose_display, duration
from lrsearch.results import Outcome, TrialResult
from lrsearch.schedules import Hyperparameters
from lrsearch.service.progress import EndedTrial, Holder, Progress, RunningTrial, StopReason
from tests.cli.commands import strict_json

POINT = Hyperparameters(0.5, "WSD", {"decay_fraction": 0.25})
BEST = EndedTrial(3, POINT, TrialResult(Outcome.COMPLETE, 0.0625, 10))
DIVERGED = EndedTrial(4, POINT, TrialResult(Outcome.PRUNED, float("inf"), 1, diverged=True))


def progress(lanes=2, **changes):
    """Return where a study stands."""
    running = tuple(RunningTrial(10 + lane, POINT, 4, 0.125) for lane in range(lanes))
    values = {
        "trials": 64,
        "epochs": 10,
        "ended": {"COMPLETE": 5, "PRUNED": 3, "diverged": 1},
        "running": running,
        "best": BEST,
        "elapsed_s": 60.0,
        "remaining_s": 125.0,
        "waiting": not running,
    }
    return Progress(**{**values, **changes})


def on_terminal(*steps):
    """Return what a live display draws for these steps, without colours."""
    text = io.StringIO()
    display = LiveDisplay()
    display._live.console = Console(file=text, force_terminal=True, width=100, legacy_windows=False)
    with display:
        for step in steps:
            display.show(step)
    return plain(text.getvalue())


def plain(text):
    """Return text without a terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_what_is_usual_for_the_optimizer_goes_unsaid(capsys):
    """AdamW's weight decay is no news, and SGD's would be."""
    point = replace(POINT, optimizer={"weight_decay": 0.01})
    ended = replace(BEST, hyperparameters=point)
    for optimizer in ("AdamW", "SGD"):
        PlainDisplay().show(progress(news=(ended,), optimizer=optimizer))
    first, second = capsys.readouterr().err.splitlines()
    assert "weight_decay" not in first
    assert "weight_decay 0.01" in second


def test_a_live_view_shows_bar_best_and_lanes():
    """Trials of the budget, time left, the best value, and each lane's lr, kind, epoch and loss."""
    text = on_terminal(progress())
    assert "━" in text
    assert "8/64 trials" in text
    assert "5 complete" in text
    assert "1 diverged" in text
    assert "2 min 5 s left" in text
    assert "best 0.0625  trial 3: lr 0.5, WSD(decay_fraction 0.25)" in text
    for number in (10, 11):
        assert re.search(rf"{number} +4/10 +0.125 +lr 0.5, WSD\(decay_fraction 0.25\)", text)


def test_a_live_view_prints_the_trials_that_end_above_itself():
    """They stay when the view is gone."""
    text = on_terminal(progress(news=(BEST, DIVERGED)))
    assert re.search(r"trial +3 +COMPLETE +0.0625 +10 epochs +lr 0.5", text)
    assert re.search(r"trial +4 +DIVERGED +inf +1 epoch +lr 0.5", text)


def test_many_lanes_are_summed_up():
    """Twelve are shown, the others counted."""
    text = on_terminal(progress(lanes=15))
    assert "and 3 more" in text
    assert re.search(r"21 +4/10", text)
    assert not re.search(r"22 +4/10", text)


def test_waiting_for_other_workers_is_said_once(capsys):
    """In plain lines once in a row, and in the live view as long as it lasts."""
    display = PlainDisplay()
    for step in (progress(lanes=0), progress(lanes=0), progress(), progress(lanes=0)):
        display.show(step)
    assert capsys.readouterr().err.count("waiting for the trials of other workers") == 2
    assert "waiting for the trials of other workers" in on_terminal(progress(lanes=0))


def test_json_lines_hold_no_number_that_json_lacks(capsys):
    """A lane whose loss is not a number has null."""
    lane = RunningTrial(1, POINT, 2, float("nan"))
    choose_display(quiet=False, log_format="json").show(progress(running=(lane,), news=(DIVERGED,)))
    epoch, trial = map(strict_json, capsys.readouterr().out.splitlines())
    assert epoch.pop("time")
    assert epoch == {"event": "epoch", "trial": 1, "epoch": 2, "valid_loss": None}
    assert trial["value"] is None


def test_json_lines_say_when_and_of_what(capsys):
    """Time in UTC, study, worker, trial and attempt, where they apply: each trial's own worker, if known."""
    display = choose_display(quiet=False, log_format="json", study="mine")
    display.note("early")
    lane = RunningTrial(1, POINT, 2, 0.5, holder=Holder("node-2", 3))
    ended = replace(BEST, holder=Holder("node-1", 2))
    news, where = (ended, DIVERGED), {"study": "mine", "worker": "node-1"}
    display.show(progress(running=(lane,), news=news, notes=("late",), stopped=StopReason.BUDGET, **where))
    early, late, epoch, mine, other, stopped = map(strict_json, capsys.readouterr().out.splitlines())
    assert all(
        datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
        for line in (early, late, epoch, mine, other, stopped)
    )
    keys = ("study", "worker", "trial", "attempt")
    assert [early.get(key) for key in keys] == ["mine", None, None, None]
    assert [late.get(key) for key in keys] == ["mine", "node-1", None, None]
    assert [epoch.get(key) for key in keys] == ["mine", "node-2", 1, 3]
    assert [mine.get(key) for key in keys] == ["mine", "node-1", 3, 2]
    assert [other.get(key) for key in keys] == ["mine", None, 4, None]
    assert [stopped.get(key) for key in keys] == ["mine", "node-1", None, None]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3600, "1 h 0 min"),
        (7325, "2 h 2 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    """Seconds, minutes or hours."""
    assert duration(seconds) == words


def on_a_real_terminal(*arguments):
    """Run a command on a pseudo terminal, and return its exit code and what it drew."""
    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        "LINES": "40",
    }
    drawn = []

    def read():
        try:
            while chunk := os.read(master, 65536):
                drawn.append(chunk)
        except OSError:  # how Linux says that the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-m", "lrsearch", *arguments]
    code = subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, env=environment).returncode
    os.close(slave)
    reader.join(timeout=60)
    os.close(master)
    return code, plain(b"".join(drawn).decode())


def test_a_search_on_a_terminal_shows_bar_best_and_lanes(study_file):
    """And leaves behind the trials and the result."""
    code, text = on_a_real_terminal("optimize", study_file(trials=3, epochs=6))
    assert code == 0
    assert "━" in text
    for ended in (1, 2, 3):
        assert f"{ended}/3 trials" in text
    assert re.search(r"best 0\.\d+  trial \d: lr ", text)
    assert re.search(r"[0-5]/6 +(-|\d\.\d+) +lr ", text)
    assert re.search(r"trial +2  COMPLETE", text)
    assert "3 of 3 trials have ended (3 complete)" in text
    assert "optimizer = torch.optim.SGD(" in text
