"""The commands of the README on MNIST run, with smaller budgets than it says."""

import re

import pytest

from tests.cli.commands import succeed
from tests.documentation.pages import ROOT, blocks_of

README = ROOT / "README.md"


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch, tmp_path):
    """Run in a folder without a database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)


def test_the_command_without_an_argument_searches_mnist(mnist_dir):
    """``lrsearch optimize`` runs on the real files, here with a budget of two short trials."""
    assert "lrsearch optimize" in [command for block in blocks_of(README) for command in block.commands]
    outcome = succeed("optimize", "--trials", "2", "--epochs", "1", "--data-dir", mnist_dir)
    assert "Study mnist-tpe: 2 of 2 trials have ended" in outcome.out


@pytest.mark.slow
def test_the_commands_of_the_readmes_verdict_run(mnist_dir):
    """Search and confirmation whose figures the README shows, here with short trials and few of them."""
    found = re.findall(r"`lrsearch ((?:optimize|confirm) mnist-tpe)`", README.read_text())
    assert found == ["optimize mnist-tpe", "confirm mnist-tpe"]
    short = ["--trials", "2", "--epochs", "1", "--data-dir", mnist_dir, "--quiet"]
    succeed(*found[0].split(), *short)
    outcome = succeed(*found[1].split(), "--top", "1", "--seeds", "4", "--data-dir", mnist_dir)
    assert "On 2 fresh seeds that did not select it, its validation loss is " in outcome.out
