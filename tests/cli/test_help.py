"""Every command explains itself, quickly, with an example that works."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import lrsearch as package
from lrsearch.cli.app import app
from lrsearch.schedules import KINDS
from lrsearch.tasks import task_names
from tests.cli.commands import lrsearch, refused, succeed

ROOT = typer.main.get_command(app)


def commands(group=ROOT, path=()):
    """Return all commands and groups by the words that call them."""
    found = {path: group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, (*path, name))
    return found


COMMANDS = commands()


def examples(words):
    """Return the commands that a help text shows."""
    text = re.sub(r"\[[/\w]*\]", "", COMMANDS[words].help)
    return re.findall(r"(?:^|Example: )(lrsearch .*)$", text, flags=re.MULTILINE)


def loaded_by(*arguments):
    """Run a command in a process of its own, and return its exit code, output and top-level modules."""
    program = (
        "import sys\n"
        "from lrsearch.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    code = left.code or 0\n"
        "print(code, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    code, *modules = run.stderr.splitlines()[-1].split()
    return int(code), run.stdout, set(modules)


def test_the_promised_commands_exist():
    """All of them, and nothing else."""
    searching = "optimize range-test worker"
    using = "confirm audit report plot export train dashboard"
    looking = "studies show best trials curves extend enqueue delete data tasks schedules db"
    serving = "submit pause resume stop status worker-health doctor gc"
    assert set(ROOT.commands) == {
        *searching.split(),
        *using.split(),
        *looking.split(),
        *serving.split(),
    }
    assert {words for words in COMMANDS if len(words) == 2} == {
        ("data", "fetch"),
        ("db", "upgrade"),
        ("db", "check"),
        ("db", "clean"),
        ("db", "backup"),
        ("db", "restore"),
        ("db", "copy"),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(words):
    """By --help and by -h, in 80 columns, the example in one piece."""
    outcome = succeed(*words, "--help")
    assert outcome == succeed(*words, "-h")
    assert outcome.err == ""
    assert f"Usage: lrsearch {' '.join(words)}".strip() in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "…" not in outcome.out
    assert examples(words)
    for example in examples(words):
        assert example in outcome.out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_example_can_be_pasted(words):
    """It calls the command that it explains, with options and arguments that exist."""
    for example in examples(words):
        _program, *arguments = shlex.split(example, comments=True)
        assert tuple(arguments[: len(words)]) == words
        command, context = ROOT, None
        while hasattr(command, "commands"):
            context = command.make_context(None, arguments, parent=context, resilient_parsing=True)
            name, command, arguments = command.resolve_command(context, arguments)
        command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([verb, "-h"] for verb in ["optimize", "best", "confirm", "export", "train", "dashboard"]),
    ],
)
def test_help_needs_no_heavy_library(arguments):
    """Neither torch nor Optuna nor SQLAlchemy is imported for it."""
    code, out, modules = loaded_by(*arguments)
    assert code == 0
    assert out
    assert not {"torch", "torchvision", "optuna", "sqlalchemy", "alembic", "sklearn", "scipy"} & modules


@pytest.mark.parametrize(
    "arguments",
    [["tasks"], ["schedules"], ["optimize", "no-such-study"], ["dashboard", "--host", "192.0.2.1"]],
)
def test_looking_needs_no_torch(arguments):
    """What trains nothing imports no PyTorch."""
    _code, _out, modules = loaded_by(*arguments)
    assert "torch" not in modules


@pytest.mark.parametrize("arguments", [["status"], ["worker-health", "node-1"]], ids=" ".join)
def test_watching_over_a_service_needs_no_torch(arguments, created_sqlite_url):
    """A probe that runs every few seconds must be quick."""
    _code, out, modules = loaded_by(*arguments, "--storage", created_sqlite_url)
    assert out
    assert "torch" not in modules


def test_the_version_is_the_packages():
    """By --version."""
    assert succeed("--version").out == f"lrsearch {package.__version__}\n"


def test_without_a_command_the_help_is_shown():
    """All commands are named; there is nothing to do, so the exit code is that of bad input."""
    outcome = lrsearch()
    assert outcome.code == 2
    assert "optimize" in outcome.out


@pytest.mark.parametrize(
    "arguments", [["optimise"], ["optimize", "--trails", "3"], ["best"], ["trials", "s", "--format", "xml"]]
)
def test_a_command_that_does_not_exist_is_bad_input(arguments):
    """Exit code 2, and no traceback."""
    outcome = lrsearch(*arguments)
    assert outcome.code == 2
    assert "Usage" in outcome.err
    assert "Traceback" not in outcome.err


def test_all_tasks_are_listed():
    """With where their data come from."""
    lines = succeed("tasks").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == task_names()
    assert "bundled" in next(line for line in lines if line.startswith("digits-mlp"))
    assert "downloads mnist" in next(line for line in lines if line.startswith("mnist-cnn"))


def test_all_schedules_are_listed_with_formula_and_parameters():
    """Sixteen kinds; a formula is on one line, its parameters below it with what is searched."""
    lines = succeed("schedules").out.splitlines()
    assert len(KINDS) == 16
    for kind in KINDS.values():
        start = next(place for place, line in enumerate(lines) if line.split(" ")[0] == kind.name)
        assert lines[start + 1].strip() == kind.formula_text
        shown = [line.strip().split(": ") for line in lines[start + 2 : start + 2 + len(kind.knobs)]]
        assert [name for name, _domain in shown] == [knob.name for knob in kind.knobs]
        assert all(domain for _name, domain in shown)


def test_an_unknown_data_set_is_refused():
    """With those that can be fetched."""
    assert "unknown data set 'minst'. Did you mean 'mnist'?" in refused("data", "fetch", "minst")
