"""Runs the command line in this process, or a server in one of its own, and reads what it printed."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import lrsearch as package
from lrsearch.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind.

    Args:
        code: its exit code.
        out: what it printed to the standard output.
        err: what it printed to the standard error.
    """

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The standard output as one JSON text, as a strict parser reads it."""
        return strict_json(self.out)

    @property
    def events(self):
        """The standard output as a JSON object a line."""
        return [strict_json(line) for line in self.out.splitlines()]


def strict_json(text):
    """Parse JSON as the standard has it: NaN and Infinity are no numbers."""

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def lrsearch(*arguments, answer=""):
    """Run a command as if it stood in a shell, not on a terminal.

    Args:
        arguments: the words after ``lrsearch``.
        answer: what stands in the standard input.
    """
    out, err, code = io.StringIO(), io.StringIO(), None
    words = ["lrsearch", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", io.StringIO(answer)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as left:
            code = left.code
    return Outcome(code or 0, out.getvalue(), err.getvalue())


def succeed(*arguments, answer=""):
    """Run a command that must leave with 0."""
    outcome = lrsearch(*arguments, answer=answer)
    assert outcome.code == 0, outcome.err
    return outcome


def refused(*arguments):
    """Run a command that must be refused, and return its short message: exit code 2, no traceback."""
    outcome = lrsearch(*arguments)
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("Error: ")
    assert "Traceback" not in outcome.err
    assert len(outcome.err.splitlines()) <= 8
    assert outcome.out == ""
    return outcome.err.removeprefix("Error: ")


@dataclass(frozen=True)
class Server:
    """A dashboard that serves in a process of its own.

    Args:
        process: the process.
        line: what it printed when it began to serve.
    """

    process: "subprocess.Popen[str]"
    line: str

    @property
    def address(self):
        """The page that it named."""
        return re.search(r"http://\S+", self.line)[0]

    def stopped(self, number=signal.SIGINT):
        """Send it a signal, and return what it left behind."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return Outcome(self.process.returncode, self.line + out, err)


@contextmanager
def serving(*arguments, **environment) -> Iterator[Server]:
    """Run ``lrsearch dashboard`` on a free port, whatever port the arguments name.

    Args:
        arguments: the words after ``lrsearch dashboard``.
        environment: variables to set.
    """
    command = [sys.executable, "-m", "lrsearch", "dashboard", *map(str, arguments), "--port", "0"]
    variables = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1]), **environment}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    ) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield Server(process, line)
        finally:
            process.kill()
