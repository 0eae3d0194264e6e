"""``lrsearch worker``: a script of the user's as trials, by environment, files, exit code and signals."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lrsearch as package
from lrsearch.service.command import CommandWorker, split_command
from lrsearch.service.external import open_external
from lrsearch.service.progress import StopReason
from lrsearch.storage.database import open_database
from tests.cli.commands import lrsearch, refused, strict_json, succeed

# Falls from 1 to 1 / epochs, and leaves what it was given in a file for each trial.
GOOD = """
import json, os
from pathlib import Path
trial = json.loads(Path(os.environ["LRSEARCH_TRIAL_FILE"]).read_text())
given = {"trial": trial, "environment": dict(os.environ)}
Path(f"given-{trial['number']}.json").write_text(json.dumps(given))
for epoch in range(1, trial["epochs"] + 1):
    with open(os.environ["LRSEARCH_REPORT_FILE"], "a") as file:
        print(json.dumps({"epoch": epoch, "valid_loss": 1 / epoch, "accuracy": 0.5}), file=file)
"""
REPORT = """
import json, os, signal, sys, time
def report(line):
    with open(os.environ["LRSEARCH_REPORT_FILE"], "a") as file:
        file.write(line if isinstance(line, str) else json.dumps(line) + "\\n")
"""
OWN_API = """
import sys
import lrsearch
with lrsearch.trial(*sys.argv[1:]) as t:
    for epoch in range(1, t.epochs + 1):
        t.report(epoch, t.hyperparameters.lr / epoch, accuracy=0.5)
print("the rest of the script")
"""


@pytest.fixture
def study(tmp_path):
    """Return a function that writes a study of a script: three random trials of three epochs, unless told."""

    def write(**keys):
        content = {"task": "external", "trials": 3, "epochs": 3, "sampler": "random", "pruner": "none"}
        content = {**content, "first_trials": False, **keys}
        lines = [f"{key} = {strict_toml(value)}" for key, value in content.items()]
        (tmp_path / "s.toml").write_text("\n".join([*lines, "[space]", "warmup_fraction = 0.0"]) + "\n")
        return "s.toml"

    return write


@pytest.fixture
def script(tmp_path):
    """Return a function that writes a script and returns the command that runs it."""

    def write(text, name="train.py"):
        (tmp_path / name).write_text(text)
        return shlex.join([sys.executable, name])

    return write


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Let scripts import this checkout."""
    monkeypatch.setenv("PYTHONPATH", str(Path(package.__file__).parents[1]))


def strict_toml(value):
    """Return a value as TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def trials(name="s"):
    """Return a study's trials as they are listed."""
    return succeed("trials", name, "--format", "json").json


def only_trial(study, command):
    """Run a worker for one trial and return the trial."""
    lrsearch("worker", "--study", study(trials=1), "--command", command)
    [trial] = trials()
    return trial


def reason(study, command):
    """Run a worker for one trial that fails, and return why it did."""
    outcome = lrsearch("worker", "--study", study(trials=1), "--command", command)
    assert outcome.code == 3
    assert "Traceback" not in outcome.err.partition("Error: ")[2]
    [trial] = trials()
    assert trial["state"] == "FAIL"
    line = next(line for line in succeed("trials", "s").out.splitlines() if " FAIL " in line)
    return line[line.rindex(" (") :].rstrip()


def test_a_script_is_run_until_the_budget_is_used_up(study, script):
    """A line for each trial, a result at the end; values, epochs and figures are those of the report file."""
    outcome = succeed("worker", "--study", study(), "--command", script(GOOD))
    assert [line.split()[:2] for line in outcome.err.splitlines()] == [["trial", str(i)] for i in range(3)]
    assert "Study s: 3 of 3 trials have ended (3 complete)" in outcome.out
    assert "Best trial 0: validation loss 0.3333, accuracy 0.5" in outcome.out
    assert [(trial["state"], trial["value"], trial["epochs"]) for trial in trials()] == [
        ("COMPLETE", 1 / 3, 3)
    ] * 3
    rows = succeed("curves", "s", "--format", "json").json
    assert [(row["trial"], row["epoch"], row["valid_loss"]) for row in rows] == [
        (number, epoch, 1 / epoch) for number in range(3) for epoch in (1, 2, 3)
    ]
    assert (
        "3 of 3 trials" in succeed("worker", "--study", "s", "--command", script("raise SystemExit(1)")).out
    )


def test_a_script_is_given_its_trial_and_no_database(study, script, monkeypatch, tmp_path):
    """The file has the trial's parameters; neither URL nor password is in the script's environment."""
    monkeypatch.setenv("LRSEARCH_STORAGE", f"sqlite:///{tmp_path}/lrsearch.db")
    succeed("worker", "--study", study(), "--command", script(GOOD))
    for row in trials():
        given = strict_json(Path(f"given-{row['number']}.json").read_text())
        assert given["trial"]["hyperparameters"]["lr"] == row["params"]["lr"]
        assert given["trial"]["optimizer"]["arguments"]["lr"] == row["params"]["lr"]
        assert (given["trial"]["study"], given["trial"]["epochs"]) == ("s", 3)
        assert "LRSEARCH_STORAGE" not in given["environment"]
        assert not [value for value in given["environment"].values() if "sqlite:" in value]


@pytest.mark.parametrize("arguments", ["", " s.toml", " some-other-study"])
def test_the_same_script_runs_in_a_worker_and_alone(study, script, arguments):
    """Inside a worker, lrsearch.trial() speaks over the files; elsewhere it opens the database itself."""
    command = script(OWN_API) + arguments
    path = study(trials=2)
    outcome = succeed("worker", "--study", path, "--command", command, "--trials", 1)
    assert "1 of 2 trials" in outcome.out
    alone = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if arguments == " s.toml":
        assert alone.stdout == "the rest of the script\n"
        one, two = trials()
        assert (one["state"], two["state"]) == ("COMPLETE", "COMPLETE")
        assert [trial["value"] for trial in (one, two)] == [
            pytest.approx(trial["params"]["lr"] / 3) for trial in (one, two)
        ]
    elif arguments:
        assert "unknown study 'some-other-study'" in alone.stderr
    else:
        assert "name a stored study or a study file" in alone.stderr


def test_a_worker_runs_a_script_for_one_trial(study, script):
    """A loop over trials ends clearly: the worker starts the script again for the next one."""
    loop = OWN_API.replace("with lrsearch.trial", "for _ in 'ab':\n  with lrsearch.trial")
    loop = loop.replace("\n    for", "\n      for").replace("\n        t.report", "\n        t.report")
    outcome = succeed("worker", "--study", study(trials=1), "--command", script(loop))
    assert "BudgetSpentError: lrsearch worker runs this script once for every trial" in outcome.err
    assert [trial["state"] for trial in trials()] == ["COMPLETE"]  # its block had ended by then


def test_a_script_that_raises_has_failed(study, script):
    """The exception is the reason, also where the script goes on after the block and leaves with 0."""
    raising = OWN_API.replace("        t.report", "        raise ValueError('no data')\n        t.report")
    assert "ValueError: no data" in reason(study, script(raising))


def test_an_exception_in_the_block_fails_the_trial_whatever_the_exit_code(study, script):
    """The script caught it outside of the block."""
    text = """
import lrsearch
try:
    with lrsearch.trial() as t:
        t.report(1, 0.5)
        raise ValueError("no data")
except ValueError:
    pass
"""
    assert reason(study, script(text)) == " (ValueError: no data)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print('one'); sys.exit('bad data')", " (exit code 1: bad data)"),
        ("sys.exit(7)", " (exit code 7)"),
        ("report({'epoch': 3, 'valid_loss': 0.5}); sys.exit(2)", " (exit code 2)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", " (killed by SIGKILL)"),
        ("pass", " (no epoch was reported: report epoch and validation loss after every epoch)"),
        ("report({'epoch': 4, 'valid_loss': 0.5})", "got epoch 4 after epoch 0)"),
        ("report('epoch 1\\n'); time.sleep(60)", "but got 'epoch 1')"),
        ("report({'epoch': 1, 'loss': 0.5}); time.sleep(60)", "but got {'epoch': 1, 'loss': 0.5})"),
        ("report({'state': 'FAIL', 'reason': 'no data'})", " (no data)"),
        ("report({'state': 'DONE'}); time.sleep(60)", "must be COMPLETE, PRUNED or FAIL, but got 'DONE')"),
        ("report({'steps_per_epoch': 'many'}); time.sleep(60)", "from 1, but got 'many')"),
        (
            "report({'steps_per_epoch': 10, 'part': []}); time.sleep(60)",
            "(unknown part '[]'. There is none yet.)",
        ),
        ("report({'steps_per_epoch': 10**400}); time.sleep(60)", "must be at most 1000000000000)"),
        (
            "report({'epoch': 1, 'valid_loss': 10**400}); time.sleep(60)",
            f"one number, but got 1{'0' * 79}...)",
        ),
        (
            "report({'epoch': 10**400, 'valid_loss': 1})",
            "0 after epoch 0)",
        ),
        ("report('[' * 100_000 + '\\n'); time.sleep(60)", f"but got '{'[' * 80}')"),
        ("report({'epoch': 1, 'valid_loss': 1, '\\ud800': 1}); time.sleep(60)", r"stored, but got '\ud800')"),
        ("report({'state': 'FAIL', 'reason': 'a\\ud800\\0b'})", " (a?b)"),
        ("sys.stderr.buffer.write(b'a\\0b'); sys.exit(1)", " (exit code 1: ab)"),
    ],
)
def test_a_script_fails(study, script, text, expected):
    """By its exit code, a signal, or a report that is none, which ends it at once; the reason is kept."""
    assert reason(study, script(REPORT + text)).endswith(expected)


def test_a_script_may_end_early(study, script):
    """With exit code 0 the trial is COMPLETE with its last loss; the last line needs no end."""
    text = REPORT + "report({'epoch': 1, 'valid_loss': 0.5}); report('{\"epoch\": 2, \"valid_loss\": 0.25}')"
    trial = only_trial(study, script(text))
    assert (trial["state"], trial["value"], trial["epochs"]) == ("COMPLETE", 0.25, 2)


def test_a_script_may_prune_its_trial(study, script):
    """Its state is written; the exit code does not matter any more."""
    text = REPORT + "report({'epoch': 1, 'valid_loss': 0.5}); report({'state': 'PRUNED'}); sys.exit(1)"
    trial = only_trial(study, script(text))
    assert (trial["state"], trial["value"], trial["epochs"]) == ("PRUNED", 0.5, 1)


@pytest.mark.parametrize("ends", ["time.sleep(60)", "signal.pause()"])
def test_a_diverged_script_is_stopped(study, script, ends):
    """A loss that is not finite ends it by SIGTERM; the trial is diverged."""
    trial = only_trial(study, script(REPORT + "report({'epoch': 1, 'valid_loss': float('nan')}); " + ends))
    assert (trial["state"], trial["diverged"], trial["epochs"]) == ("PRUNED", True, 1)


def test_a_script_diverges_above_its_own_bound(study, script):
    """As with t.report(..., diverged_above=...)."""
    text = REPORT + "report({'epoch': 1, 'valid_loss': 50.0, 'diverged_above': 10}); time.sleep(60)"
    assert only_trial(study, script(text))["diverged"]


def test_pruned_scripts_leave_by_sigterm_or_are_killed(study, script):
    """ASHA stops the fifth of five trials; it ignores SIGTERM, as does the process that it started."""
    text = """
number = json.load(open(os.environ["LRSEARCH_TRIAL_FILE"]))["number"]
if number < 4:
    [report({"epoch": epoch, "valid_loss": 1.0}) for epoch in (1, 2, 3)]
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    with open("pids", "a") as file:
        print(os.getpid(), file=file)
    report({"epoch": 1, "valid_loss": 2.0} if child else "")
    time.sleep(60)
"""
    with open_database() as database:
        opened = open_external(database, study(trials=5, pruner="asha"))
        command = split_command(script(REPORT + text))
        *_, last = CommandWorker(database, opened, command, grace_s=0.3).run()
    assert (last.stopped, last.ended) == (StopReason.BUDGET, {"COMPLETE": 4, "PRUNED": 1, "diverged": 0})
    assert (trials()[4]["value"], trials()[4]["epochs"]) == (2.0, 1)
    pids = [int(line) for line in Path("pids").read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def alive(pid):
    """Return whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_block_that_is_stopped_ends_silently(study, script):
    """SIGTERM raises TrialPruned inside the block, wherever it is; the rest of the script has its time."""
    text = """
import time
from pathlib import Path
import lrsearch
with lrsearch.trial() as t:
    t.report(1, 2.0 if t.number == 4 else 1.0)
    time.sleep(60 if t.number == 4 else 0)
Path(f"rest-{t.number}").touch()
"""
    succeed("worker", "--study", study(trials=5, pruner="asha"), "--command", script(text))
    assert [trial["state"] for trial in trials()] == ["COMPLETE"] * 4 + ["PRUNED"]
    assert Path("rest-4").exists()


BY_ITSELF = """
import os, signal, time
import lrsearch
with lrsearch.trial() as t:
    t.report(1, 0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
open("went-on", "w")
"""


@pytest.mark.parametrize(
    "text",
    [
        BY_ITSELF,
        REPORT
        + "report({'epoch': 1, 'valid_loss': 0.5}); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
        REPORT + "report({'epoch': 1, 'valid_loss': 0.5}); sys.exit(128 + signal.SIGTERM)",
    ],
    ids=["in a block", "killed", "exit code of a shell"],
)
@pytest.mark.parametrize("first_trials", [False, True])
def test_a_sigterm_of_somebody_else_gives_the_trial_back(study, script, text, first_trials):
    """A machine that shuts down says nothing about it: it keeps its point; the worker stops and says why."""
    path = study(trials=4, first_trials=first_trials)
    outcome = lrsearch("worker", "--study", path, "--command", script(text))
    assert outcome.code == 130
    assert "Stopped: the script was ended by a SIGTERM that this worker did not send" in outcome.err
    assert "Go on with: lrsearch worker --study s" in outcome.err
    assert not Path("went-on").exists()
    [given_back] = trials()
    assert (given_back["state"], given_back["value"]) == ("RUNNING", None)
    succeed("worker", "--study", path, "--command", script(GOOD))
    assert [trial["state"] for trial in trials()] == ["COMPLETE"] * 4
    assert trials()[0]["params"] == given_back["params"]


def test_a_sigterm_after_the_last_word_changes_nothing(study, script):
    """What the script, or its last report, has said of the trial stands."""
    end = "; os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    text = REPORT + "report({'epoch': 1, 'valid_loss': 0.5}); report({'state': 'PRUNED'})" + end
    trial = only_trial(study, script(text))
    assert (trial["state"], trial["value"], trial["epochs"]) == ("PRUNED", 0.5, 1)


def test_a_script_with_another_schedule_than_the_study_began_with_fails(study, script):
    """The code of its own schedule has gained a parameter since; the error names it."""
    code = (
        "import lrsearch\n@lrsearch.schedule(power=lrsearch.Range(0.5, 2.0))\n"
        "def gaining(progress, power):\n    return (1 - progress) ** power\n"
    )
    Path("gaining.py").write_text(code)
    file = Path(study(trials=2))
    file.write_text(file.read_text() + 'kinds = ["gaining.py:gaining"]\n')
    allow = ["--allow-task", "gaining.py:gaining"]
    text = (
        "import lrsearch\nwith lrsearch.trial(allow_task=['gaining.py:gaining']) as t:\n    t.report(1, 1)\n"
    )
    lrsearch("worker", "--study", file, "--command", script(text), *allow, "--trials", 1)
    Path("gaining.py").write_text(
        code.replace("(power=", "(end=0.1, power=").replace("power):", "power, end):")
    )
    lrsearch("worker", "--study", "s", "--command", script(text), "--trials", 1)
    assert [trial["state"] for trial in trials()] == ["COMPLETE", "FAIL"]
    why = succeed("trials", "s").out.splitlines()[2]
    assert "StudyConflictError: the schedule gaining.py:gaining has gained end since study 's' began" in why


def test_own_schedules_are_imported_only_where_they_are_allowed(study, script):
    """By the worker, which reads their ranges, and by the script, which follows them."""
    Path("mine.py").write_text(
        "import lrsearch\n@lrsearch.schedule(power=lrsearch.Range(0.5, 2.0))\n"
        "def fade(progress, power):\n    return (1 - progress) ** power\n"
    )
    file = Path(study(trials=2))
    file.write_text(file.read_text() + 'kinds = ["mine.py:fade"]\n')
    text = (
        "import lrsearch\nwith lrsearch.trial({}) as t:\n    t.report(1, t.hyperparameters.knobs['power'])\n"
    )
    worker = ["worker", "--study", file, "--command"]
    allow = ["--allow-task", "mine.py:fade"]
    assert "--allow-task mine.py:fade" in refused(*worker, script(text))
    lrsearch(*worker, script(text.format("")), *allow, "--trials", 1)
    succeed(*worker, script(text.format("allow_task=['mine.py:fade']")), *allow)
    refusing, following = trials()
    assert refusing["state"] == "FAIL"
    assert following["value"] == following["params"]["mine.py:fade.power"]


def test_what_the_script_writes_passes_through(study, script, capfd):
    """Its output goes where the worker's goes, its errors too."""
    text = (
        REPORT
        + "print('out', flush=True); print('err', file=sys.stderr); report({'epoch': 1, 'valid_loss': 1})"
    )
    outcome = succeed("worker", "--study", study(trials=1), "--command", script(text))
    assert capfd.readouterr().out == "out\n"
    assert "err\n" in outcome.err


def test_a_worker_may_have_a_number_of_trials_or_a_time(study, script):
    """The rest is left to others; what ran when the time was over keeps its point."""
    path = study()
    assert "2 of 3" in succeed("worker", "--study", path, "--trials", 2, "--command", script(GOOD)).out
    slow = script(REPORT + "report({'epoch': 1, 'valid_loss': 1.0}); time.sleep(60)", "slow.py")
    outcome = succeed("worker", "--study", path, "--timeout-s", 0.5, "--command", slow)
    assert "Stopped: the timeout was reached" in outcome.err
    assert f"Go on with: lrsearch worker --study s --command {shlex.quote(slow)}" in outcome.err
    before = trials()
    assert [trial["state"] for trial in before] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert "3 of 3" in succeed("worker", "--study", path, "--command", script(GOOD)).out
    assert trials()[2]["params"] == before[2]["params"]
    assert trials()[2]["state"] == "COMPLETE"


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_worker_that_is_interrupted_stops_its_script_and_releases_the_slot(study, script, signals):
    """Exit code 130 and the way on; the second signal kills a script that ignores the first."""
    text = (
        REPORT
        + ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if len(signals) > 1 else "")
        + "open('pid', 'w').write(str(os.getpid())); report({'epoch': 1, 'valid_loss': 1.0}); time.sleep(60)"
    )
    command = [sys.executable, "-m", "lrsearch", "worker", "--study", study(), "--command", script(text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not Path("pid").exists() or not Path("pid").read_text():
            time.sleep(0.05)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.5)
        _out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopping the script; once more kills it." in err
    assert "Go on with: lrsearch worker --study s" in err
    assert "Traceback" not in err
    assert not alive(int(Path("pid").read_text()))
    [running] = trials()
    assert running["state"] == "RUNNING"
    assert "3 of 3" in succeed("worker", "--study", "s", "--command", script(GOOD)).out
    assert trials()[0]["params"] == running["params"]


def test_scripts_that_keep_failing_stop_the_study(study, script):
    """After five in a row, with exit code 3 and the last reason."""
    outcome = lrsearch(
        "worker", "--study", study(trials=9), "--command", script("raise SystemExit('no data')")
    )
    assert outcome.code == 3
    assert "The last reason: exit code 1: no data" in outcome.err
    assert len(trials()) == 5


def test_two_workers_share_one_budget(study, script):
    """Every slot ends once."""
    command = [sys.executable, "-m", "lrsearch", "worker", "--study", study(trials=6), "--command"]
    succeed("worker", "--study", "s.toml", "--trials", 1, "--command", script(GOOD))
    running = [subprocess.Popen([*command, script(GOOD)], stdout=subprocess.DEVNULL) for _worker in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert [(trial["number"], trial["state"]) for trial in trials()] == [(i, "COMPLETE") for i in range(6)]


# Bad input


def test_a_worker_needs_a_command(study):
    """Without one it trains stored studies alone."""
    assert "Store it: lrsearch submit s.toml" in refused("worker", "--study", study())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "--command is empty"),
        ("no-such-program x", "there is no program"),
        ("a 'b", "No closing quotation"),
    ],
)
def test_a_command_that_cannot_run_is_refused(study, command, message):
    """Before a study is made or a slot is claimed."""
    assert message in refused("worker", "--study", study(), "--command", command)
    assert succeed("studies").out.startswith("No study yet")


def test_a_study_of_a_task_is_refused(finished, script):
    """It names the command that trains it."""
    message = refused("worker", "--study", finished, "--command", script(GOOD))
    assert "lrsearch optimize 'fin ished'" in message


def test_an_unknown_study_is_refused(script):
    """With those that exist."""
    assert "unknown study 'gan'" in refused("worker", "--study", "gan", "--command", script(GOOD))


def test_optimize_says_who_trains_a_script(study):
    """And creates no study."""
    message = refused("optimize", study())
    assert "with lrsearch.trial(NAME_OR_FILE) as t: ..." in message
    assert succeed("studies").out.startswith("No study yet")


# The ordinary commands, on a study with parts


@pytest.fixture
def gan(study, script):
    """Run a study with two parts, and return its name."""
    text = (
        REPORT
        + """
trial = json.load(open(os.environ["LRSEARCH_TRIAL_FILE"]))
assert list(trial["parts"]) == ["generator", "critic"]
report({"steps_per_epoch": 7, "part": "critic"})
lr = {name: part["hyperparameters"]["lr"] for name, part in trial["parts"].items()}
report({"epoch": 3, "valid_loss": lr["generator"] - lr["critic"]})
"""
    )
    path = study(parts=["generator", "critic"])
    outcome = succeed("worker", "--study", path, "--command", script(text))
    assert "generator: lr" in outcome.err
    assert "; critic: lr" in outcome.err
    return "s"


def test_a_study_with_parts_is_shown(gan):
    """Each part's hyperparameters stand behind its name; PyTorch's lines are those of a known length."""
    shown = succeed("show", gan).out
    assert "Study s: external, 3 epochs" in shown
    assert "  generator: lr" in shown
    assert "  critic: lr" in shown
    assert "In PyTorch, critic, for 3 epochs of 7 updates:" in shown
    assert "In PyTorch, generator" not in shown
    assert succeed("best", gan).out in shown
    assert succeed("studies").out.splitlines()[1].split()[:5] == ["s", "external", "random", "3", "3"]
    assert len(succeed("trials", gan).out.splitlines()) == 4


def test_a_study_with_parts_is_listed_for_programs(gan):
    """Parameters have the part in their names."""
    for row in trials(gan):
        expected = row["params"]["generator/lr"] - row["params"]["critic/lr"]
        assert row["value"] == pytest.approx(expected)
    assert succeed("best", gan, "--format", "json").json[0]["value"] == min(t["value"] for t in trials(gan))
    header = succeed("trials", gan, "--format", "csv").out.splitlines()[0]
    assert "params.generator/lr" in header
    assert succeed("curves", gan, "--format", "csv").out.count("\n") == 4


def test_a_study_file_cannot_fix_parts(gan):
    """It is refused, with the command that shows the values."""
    message = refused("best", gan, "--format", "toml")
    assert "see them: lrsearch best s --format json" in message


def test_the_best_of_a_script_is_a_study_file(study, script):
    """Without parts, its values are fixed in a study that the script can train again."""
    succeed("worker", "--study", study(), "--command", script(GOOD))
    Path("best.toml").write_text(succeed("best", "s", "--format", "toml").out)
    assert "batch_size" not in Path("best.toml").read_text()
    succeed("worker", "--study", "best.toml", "--command", script(GOOD))
    [again] = trials("s-best")
    assert (again["state"], again["value"]) == ("COMPLETE", 1 / 3)


def test_a_scripts_study_is_widened_and_filled(gan):
    """The way on is the worker's."""
    way = "lrsearch worker --study s --command 'python train.py'"
    assert way in succeed("extend", gan, "--trials", "+1").out
    assert way in succeed("enqueue", gan, "generator/lr=0.5", "critic/lr=0.25").out
    succeed("worker", "--study", gan, "--command", shlex.join([sys.executable, "train.py"]))
    assert trials(gan)[3]["value"] == pytest.approx(0.25)


def test_a_log_for_programs(study, script):
    """A JSON object a line on the standard output, and nothing else: what a script prints goes aside."""
    study()
    command = ["worker", "--study", "s.toml", "--command", script("print('hello')\n" + GOOD)]
    run = subprocess.run(
        [sys.executable, "-m", "lrsearch", *command, "--log-format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    events = [strict_json(line) for line in run.stdout.splitlines()]
    ends = [each for each in events if each["event"] == "trial"]
    assert {(each["study"], each["trial"], each["attempt"]) for each in ends} == {
        ("s", n, 1) for n in range(3)
    }
    assert len({each["worker"] for each in ends}) == 1
    assert events[-1]["event"] == "stopped"
    assert run.stderr.count("hello") == 3


def test_figures_for_prometheus(study, script, tmp_path):
    """In the file that is asked for; a folder that does not exist is refused before a trial begins."""
    study()
    command = ("worker", "--study", "s.toml", "--command", script(GOOD), "--metrics-file")
    assert "a folder that can be written" in refused(*command, tmp_path / "none" / "w.prom")
    succeed(*command, tmp_path / "w.prom")
    text = (tmp_path / "w.prom").read_text()
    assert 'state="complete",study="s"' in text
    assert not list(tmp_path.glob("given-3.json"))
