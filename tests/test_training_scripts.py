"""The page on training scripts is true: its files are written, and its commands run in its order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import succeed

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "training-scripts.md"
BLOCK = re.compile(r"```(toml|python|sh)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the page's files, run its commands, and return their folder."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "bin").mkdir()
    for name, module in (("lrsearch", "lrsearch"), ("torchrun", "torch.distributed.run"), ("python", None)):
        words = [sys.executable, *(["-m", module] if module else [])]
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LRSEARCH")}
    environment |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
    blocks = BLOCK.findall(PAGE.read_text())
    for language, text in blocks:
        if language != "sh":
            (folder / text.split()[1]).write_text(text)
    for language, text in blocks:
        for command in text.splitlines() if language == "sh" else []:
            run = subprocess.run(
                command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            # PyTorch's store aborts now and then when a process leaves; the trials below tell the rest.
            left_well = run.returncode == 0 or "terminate called without an active exception" in run.stderr
            assert left_well, f"{command}\n{run.stdout}{run.stderr}"
            with (folder / "output").open("a") as output:
                output.write(f"$ {command}\n{run.stdout}{run.stderr}")
    return folder


def trials(folder, study):
    """Return a study's trials."""
    storage = f"sqlite:///{folder}/lrsearch.db"
    return succeed("trials", study, "--storage", storage, "--format", "json").json


@pytest.mark.slow
def test_every_study_of_the_page_ends_with_its_budget(folder):
    """The files' trials are all there, and none has failed."""
    budgets = {"net": 8, "gan": 6, "ranks": 2, "plain": 4}
    for study, budget in budgets.items():
        assert len(trials(folder, study)) == budget
        assert {trial["state"] for trial in trials(folder, study)} <= {"COMPLETE", "PRUNED"}


@pytest.mark.slow
def test_the_pages_gan_has_two_optimizers(folder):
    """Each with a learning rate of its own; the best generator comes near to the data."""
    sampled = trials(folder, "gan")[2:]
    assert all(trial["params"]["generator/lr"] != trial["params"]["discriminator/lr"] for trial in sampled)
    assert min(trial["value"] for trial in trials(folder, "gan")) < 1.0


@pytest.mark.slow
def test_what_the_page_shows_of_its_output_is_printed(folder):
    """The end of the budget, and the lines of PyTorch for each part."""
    output = (folder / "output").read_text()
    assert "all 8 trials of study 'net' have ended. Add some: lrsearch extend net --trials +10\n" in output
    assert "In PyTorch, generator, for 8 epochs of 20 updates:" in output
    assert "In PyTorch, discriminator, for 8 epochs of 20 updates:" in output
