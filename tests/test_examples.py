"""Every example runs from top to bottom, here with a small budget."""

import runpy
from pathlib import Path

import pytest

import lrsearch
from benchmarks.own_tasks import lines_for_the_search

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_a_script(path, monkeypatch, tmp_path, capsys):
    """As ``python examples/NAME.py`` does, with two trials of two epochs for each search."""
    optimize = lrsearch.optimize

    def short(task, **arguments):
        return optimize(task, **{**arguments, "trials": 2, "epochs": 2, "progress": False})

    monkeypatch.setattr(lrsearch, "optimize", short)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert "best trial" in printed
    assert "torch.optim." in printed


@pytest.mark.parametrize("name", ["regression", "convolution", "sequence"])
def test_a_search_takes_at_most_15_lines_beside_model_and_data(name):
    """The task's definition and the call, counted in the file."""
    path = next(path for path in EXAMPLES if path.stem == name)
    assert 5 < lines_for_the_search(path) <= 15
