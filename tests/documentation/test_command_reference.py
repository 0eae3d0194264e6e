"""The reference of the command line has every command, in plain Markdown."""

import re
import runpy

import pytest
import typer

from lrsearch.cli.app import app
from tests.documentation.pages import ROOT

MODULE = runpy.run_path(str(ROOT / "docs" / "extensions" / "command_reference.py"))
REFERENCE = MODULE["command_reference"]()
COMMANDS = dict(MODULE["commands"]("lrsearch", typer.main.get_command(app)))


def section(words):
    """Return the reference's section of a command."""
    return re.search(rf"^## {words}\n(.*?)(?=^## |\Z)", REFERENCE, re.DOTALL | re.MULTILINE)[1]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_is_told_with_each_option_and_an_example(words):
    """Every way to write an option stands in its section, and lines that call the command."""
    for parameter in COMMANDS[words].params if words not in {"lrsearch db", "lrsearch data"} else ():
        for written in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
            assert re.search(rf"^\| `[^|]*{re.escape(written)}", section(words), re.MULTILINE), written
    if not hasattr(COMMANDS[words], "commands"):
        assert re.search(rf"```sh\n{words}", section(words))


def test_no_markup_of_the_terminal_is_left():
    """What is bold in a terminal is a name, and what is dim a comment."""
    assert not re.search(r"\[/?(?:b|dim)?\]", REFERENCE)
    assert "Database; else `LRSEARCH_STORAGE`, else sqlite:///lrsearch.db." in REFERENCE
    assert "lrsearch optimize mnist-tpe --timeout-s 600  # goes on with a stored study" in REFERENCE


def test_defaults_and_limits_have_their_place():
    """A default stands in its column, a limit behind the meaning."""
    assert "| `--seeds <int>` | `10` | Fresh seeds; half select the winner, half report. |" in REFERENCE
    assert "| `--port <int range>` | `8080` | Port; 0 takes any free one. (0\\<=x\\<=65535) |" in REFERENCE
    assert "| `STUDY <str>` | required | Name of a stored study. |" in REFERENCE
