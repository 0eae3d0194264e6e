"""Runs the blocks of a page in their order, in one folder, on one database."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from lrsearch.cli import main
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from
from tests.cli.commands import serving
from tests.documentation.deviations import ABORTS, ENDLESS, NOT_RUN, OWN_PROCESS, REPLACED, SUPPOSED
from tests.documentation.pages import ROOT, Block, blocks_of, name_of

OF_A_CLONE = ("examples", "studies", "benchmarks")  # pages run in what looks like one
OF_A_SHELL = re.compile(r"[|&;<>$`*~]")


@dataclass
class PageRun:
    """A page that is run from top to bottom.

    Args:
        page: the page.
        folder: where it runs; it becomes the current one.
        monkeypatch: takes back what the page does to the environment.
        places: what the placeholders of the tables stand for, such as ``{mnist}``.
        namespace: the names that the page's Python has defined so far.
    """

    page: Path
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    places: dict[str, str] = field(default_factory=dict)
    namespace: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the folder look like a clone's, with the files that the page supposes."""
        for name in OF_A_CLONE:
            (self.folder / name).symlink_to(ROOT / name)
        for name, text in SUPPOSED.get(name_of(self.page), {}).items():
            (self.folder / name).write_text(text)
        for variable in ("LRSEARCH_STORAGE", "LRSEARCH_CHECKPOINT_DIR"):
            self.monkeypatch.delenv(variable, raising=False)
        self.monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        self.monkeypatch.setenv("PYTHONPATH", str(ROOT))
        self.monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads of a small model wait for each other
        self.monkeypatch.syspath_prepend(self.folder)
        self.monkeypatch.chdir(self.folder)

    def run(self) -> None:
        """Run all blocks that can be run."""
        blocks = [self._deviating(block) for block in blocks_of(self.page)]
        commands = [command for block in blocks if block.language == "sh" for command in block.commands]
        for block in blocks:
            if block.file is not None:
                (self.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / block.file).write_text(block.text)
            if block.language == "sh":
                for command in block.commands:
                    self._command(command)
            elif block.language == "python" and not _is_script(block, commands):
                self._python(block)
            elif block.language == "toml" and block.file is None:
                _study_file(block)

    def _deviating(self, block: Block) -> Block:
        text = block.text
        for entry in REPLACED:
            if entry.page == name_of(self.page):
                text = text.replace(entry.text, self._placed(entry.instead))
        return block.with_text(text)

    def _placed(self, text: str) -> str:
        for place, value in self.places.items():
            text = text.replace(f"{{{place}}}", value)
        return text

    def _python(self, block: Block) -> None:
        """Run a block as the next cell of a notebook; its tracebacks have the page's lines."""
        source = block.text if block.file else "\n" * (block.line - 1) + block.text
        code = compile(source, block.file or name_of(self.page), "exec")
        with warnings.catch_warnings():
            exec(code, self.namespace)

    def _command(self, command: str) -> None:
        first, _, rest = command.partition(" ")
        if any(command == program or command.startswith(f"{program} ") for program in NOT_RUN):
            return
        if first == "export":
            self.monkeypatch.setenv(*rest.split("=", 1))
        elif first == "unset":
            self.monkeypatch.delenv(rest)
        elif first == "cd":
            self.monkeypatch.chdir(rest)
        elif any(command.startswith(endless) for endless in ENDLESS):
            _visit(command)
        elif first == "lrsearch" and not _needs_a_process(command):
            self._in_this_process(command)
        else:
            _in_a_shell(command)

    def _in_this_process(self, command: str) -> None:
        self.monkeypatch.setattr("sys.argv", shlex.split(command))
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code in {0, None}, command


def _is_script(block: Block, commands: list[str]) -> bool:
    """Return whether a command of the page runs the block's file: then nothing else does."""
    name = re.escape(block.file or "")
    return bool(name) and any(re.search(rf"\b(python|torchrun)\b.* {name}\b", line) for line in commands)


def _study_file(block: Block) -> None:
    """Read a part of a study file as one that says besides what every study needs."""
    content = {"name": "example", "task": "digits-mlp", "trials": 1, **tomllib.loads(block.text)}
    resolved(spec_from(content, f"line {block.line}"))


def _needs_a_process(command: str) -> bool:
    without_quoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", command)
    return bool(OF_A_SHELL.search(without_quoted)) or any(piece in command for piece in OWN_PROCESS)


def _in_a_shell(command: str) -> None:
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    sys.stdout.write(ran.stdout)
    left_well = ran.returncode == 0 or any(words in ran.stderr for words in ABORTS)
    assert left_well, f"{command}\n{ran.stdout}{ran.stderr}"


def _visit(command: str) -> None:
    """Start a dashboard in a process of its own, fetch the page that it names, and stop it."""
    with serving(*shlex.split(command)[2:], BROWSER="true") as server:
        with urlopen(server.address) as page:
            assert b"<title>Optuna Dashboard</title>" in page.read()
        assert server.stopped().code == 0
