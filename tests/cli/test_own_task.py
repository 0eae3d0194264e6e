"""A task of the user's own on the command line: found, trusted only when named, explained when wrong."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import lrsearch, refused, succeed

GOOD = """
import pathlib, torch, lrsearch
pathlib.Path("imported").touch()
x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
y = x.sum(1, keepdim=True)
task = lrsearch.Task.from_tensors(
    lambda: torch.nn.Linear(3, 1), (x[:160], y[:160]), (x[160:], y[160:]),
    loss=torch.nn.functional.mse_loss, epochs=3,
)
@lrsearch.schedule(power=lrsearch.Range(0.5, 2.0))
def falling(progress, power):
    return (1 - progress) ** power
"""

BREAKS = """
calls = []
def loss(outputs, targets):
    calls.append(1)
    if len(calls) > 60:
        raise ValueError("the cable is out")
    return torch.nn.functional.mse_loss(outputs, targets)
task = lrsearch.Task.from_tensors(
    lambda: torch.nn.Linear(3, 1), (x[:160], y[:160]), (x[160:], y[160:]), loss=loss, epochs=3
)
"""


@pytest.fixture(autouse=True)
def model_file():
    """A file with a task, a schedule, and a trace of being imported."""
    Path("net.py").write_text(GOOD)


def test_a_task_alone_is_a_study_named_after_its_file():
    """From a model file to lines of PyTorch, and on with more trials."""
    printed = succeed("optimize", "--task", "net.py:task", "--trials", "3").out
    assert "Study net: 3 of 3 trials have ended" in printed
    assert "optimizer = torch.optim.SGD(model.parameters()" in printed
    more = succeed("optimize", "net", "--allow-task", "net.py:task", "--trials", "4").out
    assert "Study net: 4 of 4 trials have ended" in more
    assert "Study net: 4 of 4" in succeed("optimize", "--task", "net.py:task").out


def test_a_study_does_not_go_on_with_a_changed_model():
    """Another model under the same name is another study; the same one goes on."""
    succeed("optimize", "--task", "net.py:task", "--trials", "2")
    wider = "lambda: torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 1))"
    Path("net.py").write_text(GOOD.replace("lambda: torch.nn.Linear(3, 1)", wider))
    message = refused("optimize", "net", "--allow-task", "net.py:task", "--trials", "3")
    assert "has changed since study 'net' began" in message
    assert "--name NEW" in message
    Path("net.py").write_text(GOOD.replace("epochs=3", "epochs=3, accumulate=2"))
    message = refused("optimize", "net", "--allow-task", "net.py:task", "--trials", "3")
    assert "an epoch had 5 updates and has 2 now" in message
    Path("net.py").write_text(GOOD)
    assert "3 of 3" in succeed("optimize", "--task", "net.py:task", "--trials", "3").out


CHANGES = {
    "its data are others": ("(x[:160], y[:160])", "(x[:160], y[:160] + 0.1)"),
    "its model has other layers": (
        "torch.nn.Linear(3, 1)",
        "torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout())",
    ),
    "its untrained validation loss was": ("mse_loss", "l1_loss"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_no_command_trains_for_a_study_whose_task_has_changed(what):
    """Training data, layers without weights, the loss: each is noticed by all that train."""
    succeed("optimize", "--task", "net.py:task", "--trials", "2")
    old, new = CHANGES[what]
    assert old in GOOD
    Path("net.py").write_text(GOOD.replace(old, new))
    for verb, *options in (
        ("optimize", "--trials", "3"),
        ("confirm",),
        ("train", "-o", "trained"),
    ):
        assert what in refused(verb, "net", *options, "--allow-task", "net.py:task")
    Path("net.py").write_text(GOOD)
    assert "2 of 2" in succeed("optimize", "--task", "net.py:task", "--trials", "2").out


def test_the_order_of_groups_belongs_to_the_study():
    """A parameter takes the first pattern that it matches, so another order is another study."""
    start = 'name = "o"\ntask = "digits-mlp"\ntrials = 1\nepochs = 1\n[groups]\n'
    one, other = '"1.*" = { lr_scale = 0.1 }\n', '"*.weight" = { lr_scale = 0.5 }\n'
    Path("a.toml").write_text(start + one + other)
    Path("b.toml").write_text(start + other + one)
    succeed("optimize", "a.toml")
    assert "in their order" in refused("optimize", "b.toml")


def test_a_study_that_only_diverges_says_what_helps():
    """On the command line, by ``optimize`` and by ``best``."""
    Path("hot.toml").write_text(
        'task = "net.py:task"\ntrials = 2\nfirst_trials = false\n'
        "[space]\nlr = { low = 100.0, high = 900.0 }\n"
    )
    printed = succeed("optimize", "hot.toml", "--allow-task", "net.py:task").out
    assert "(2 diverged)" in printed
    assert "lrsearch range-test finds bounds" in printed
    assert "lrsearch range-test finds bounds" in refused("best", "hot")


def test_a_task_in_the_place_of_a_study_is_pointed_out():
    """A reference is no study; the option is named."""
    assert "--task net.py:task" in refused("optimize", "net.py:task")
    assert "is a folder" in refused("optimize", ".")


def test_a_stored_study_imports_nothing_unasked():
    """Going on with it, or showing it, runs no code; the error says how to allow it."""
    succeed("optimize", "--task", "net.py:task", "--trials", "2")
    Path("imported").unlink()
    assert "--allow-task net.py:task" in refused("optimize", "net")
    for command in ("show", "best", "trials", "curves"):
        succeed(command, "net")
    assert not Path("imported").exists()


def test_a_study_file_imports_nothing_unasked():
    """Neither its task nor a schedule of one's own, unless named on the command line or allowed."""
    Path("own.toml").write_text(
        'task = "net.py:task"\ntrials = 3\n[space]\nkinds = ["LinearLR", "net.py:falling"]\n'
        '[space."net.py:falling"]\npower = { low = 1.0, high = 1.5 }\n'
    )
    refused("optimize", "own.toml")
    assert "--allow-task net.py:falling" in refused("optimize", "own.toml", "--task", "net.py:task")
    assert "--allow-task net.py:task" in refused("optimize", "own.toml", "--allow-task", "net.py:falling")
    allowed = ("--allow-task", "net.py:task", "--allow-task", "net.py:falling")
    assert "Study own: 3 of 3" in succeed("optimize", "own.toml", *allowed).out


def test_a_schedule_of_ones_own_is_shown_without_its_code():
    """Its values in words and its lines of PyTorch, from the database alone."""
    Path("own.toml").write_text(
        'task = "digits-mlp"\ntrials = 2\nepochs = 2\n[space]\nkinds = ["net.py:falling"]\n'
    )
    printed = succeed("optimize", "own.toml", "--allow-task", "net.py:falling").out
    Path("net.py").unlink()
    assert "net.py:falling(power" in printed
    assert "from net import falling" in succeed("best", "own").out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("task =", "tusk ="), "Did you mean 'tusk'"),
        (("mse_loss, epochs=3", "mse_loss, batch_size=500"), "160 training examples"),
        (("torch.nn.functional.mse_loss", "lambda a, b: (a - b).square()"), "scalar"),
        (("torch.nn.functional.mse_loss", "lambda a, b: (a - b).detach().mean()"), "gradient"),
        (("x.sum(1, keepdim=True)", "x.sum(1)"), "shape"),
        (("epochs=3", 'metrics={"bad": lambda a, b: torch.tensor(float("nan"))}'), "bad"),
    ],
)
def test_a_wrong_task_is_explained_before_a_study_is_made(change, words):
    """In a few lines, without a frame of lrsearch, and nothing is stored."""
    Path("net.py").write_text(GOOD.replace(*change))
    message = refused("optimize", "--task", "net.py:task", "--trials", "2")
    assert words in message
    assert "lrsearch/" not in message
    assert succeed("studies", "--format", "json").json == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("import pathlib", "import pathlbi"), "No module named 'pathlbi'"),
        (("lambda: torch.nn.Linear(3, 1)", "torch.nn.Linear(3, 1)"), "model_factory must make a fresh model"),
    ],
)
def test_a_file_that_cannot_be_imported_shows_the_users_own_frames(change, words):
    """The traceback ends in the user's line; frames of lrsearch and of the import machinery are left out."""
    Path("net.py").write_text(GOOD.replace(*change))
    outcome = lrsearch("optimize", "--task", "net.py:task", "--trials", "2")
    assert outcome.code == 2
    assert words in outcome.err
    assert "net.py" in outcome.err
    assert "importlib" not in outcome.err
    assert "lrsearch/" not in outcome.err


@pytest.mark.parametrize("change", ["a parameter more", "a parameter less", "another name"])
@pytest.mark.parametrize("by", ["name", "file"])
def test_a_schedule_that_has_changed_since_its_study_was_stored_is_told(change, by, monkeypatch):
    """Instead of a search with values that its trials do not have; what is stored can still be shown."""
    monkeypatch.setattr("lrsearch.schedules.kinds._registered", {})
    now = {"a parameter more": ("a=1.0, b=1.0", "a, b"), "a parameter less": ("", "")}

    def write(arguments, parameters):
        head = f"import lrsearch\n@lrsearch.schedule({arguments})\ndef fade(progress, {parameters}):"
        Path("changing.py").write_text(f"{head} return 1 - progress\n")

    write("a=1.0", "a")
    head = 'task = "digits-mlp"\ntrials = 1\nepochs = 1\n[space]\n'
    Path("own.toml").write_text(f'{head}kinds = ["changing.py:fade"]\n')
    allow = ("--allow-task", "changing.py:fade")
    succeed("optimize", "own.toml", *allow)
    write(*now.get(change, ("b=1.0", "b")))
    message = refused("optimize", "own" if by == "name" else "own.toml", "--trials", 2, *allow)
    gained = "has gained b" if change != "a parameter less" else ""
    lost = "has lost a" if change != "a parameter more" else ""
    words = " and ".join(filter(None, [gained, lost]))
    assert f"the schedule changing.py:fade {words} since study 'own' began" in message
    assert "--name NEW" in message
    assert "2 of 2" in succeed("optimize", "own.toml", "--name", "new", "--trials", 2, *allow).out
    monkeypatch.setattr("lrsearch.schedules.kinds._registered", {})
    for command in ("show", "best", "trials"):
        assert "changing.py:fade" in succeed(command, "own").out


def test_a_failed_trial_is_shown_with_its_traceback():
    """The exception, its message, and the user's own line that raised it."""
    Path("net.py").write_text(GOOD + BREAKS)
    outcome = lrsearch("optimize", "--task", "net.py:task", "--name", "s", "--workers", "1")
    assert outcome.code == 3
    trials = json.loads(succeed("trials", "s", "--format", "json").out)
    failed = next(trial["number"] for trial in trials if trial["state"] == "FAIL")
    shown = succeed("show", "s", "--trial", str(failed)).out
    assert f"Trial {failed}: FAIL" in shown
    assert 'raise ValueError("the cable is out")' in shown
    assert "unknown trial '99'" in refused("show", "s", "--trial", "99")
