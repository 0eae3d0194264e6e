"""Every example runs from top to bottom, here with a small budget."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from benchmarks.examples import EXAMPLES as SHOWN
from benchmarks.own_tasks import lines_for_the_search
from tests.cli.commands import succeed

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SEARCHES = ("characters", "convolution", "fine_tuning", "lbfgs", "regression", "sequence")


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Run in an empty folder, with a database of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)


def run(monkeypatch, path):
    """Run a script as ``python PATH --trials 2 --epochs 2`` does."""
    monkeypatch.setattr("sys.argv", [str(path), "--trials", "2", "--epochs", "2"])
    return runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name in {"characters", "fine_tuning", "sequence"}
        else name
        for name in SEARCHES
    ],
)
def test_a_search_prints_its_winner_and_the_lines_of_pytorch(name, monkeypatch, capsys):
    """The budget on the command line is the one that is trained."""
    run(monkeypatch, EXAMPLES / f"{name}.py")
    printed = capsys.readouterr().out
    assert "best trial" in printed
    assert " of 2, validation loss" in printed
    assert "# for 2 epochs of" in printed
    assert "torch.optim." in printed


@pytest.mark.parametrize("name", ["characters", "convolution", "regression", "sequence"])
def test_a_search_takes_at_most_15_lines_beside_model_and_data(name):
    """The task's definition and the call, counted in the file."""
    assert 5 < lines_for_the_search(EXAMPLES / f"{name}.py") <= 15


def test_the_objective_searches_a_schedule_beside_parameters_of_its_own(monkeypatch, capsys):
    """The winner that is printed has the width and the learning rate."""
    ran = run(monkeypatch, EXAMPLES / "optuna_objective.py")
    assert len(ran["study"].trials) == 2
    assert {"width", "lr", "kind"} <= ran["study"].best_params.keys()
    assert str(ran["study"].best_params) in capsys.readouterr().out


@pytest.mark.slow
def test_the_training_script_trains_with_a_worker_and_without(monkeypatch):
    """A worker runs it once for each trial; alone it trains as many as it is told; the study is one."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = EXAMPLES / "training_script.py"
    command = shlex.join([sys.executable, str(script), "--epochs", "2"])
    succeed("worker", "--study", EXAMPLES / "training_script.toml", "--command", command, "--trials", 1)
    run(monkeypatch, script)
    trials = succeed("trials", "training_script", "--format", "json").json
    assert [(trial["state"], trial["epochs"]) for trial in trials] == [("COMPLETE", 2)] * 3
    curves = succeed("curves", "training_script", "--format", "json").json
    assert all(0 < row["metrics"]["accuracy"] < 1 for row in curves)


NOTEBOOK = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)


def outputs(notebook):
    """Return what the cells of a notebook have put out."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def kinds_of_data(notebook):
    """Return the media types of all outputs, the cells' in their order."""
    return [set(output.get("data", {"text/plain": ""})) for output in outputs(notebook)]


@pytest.mark.slow
def test_the_notebook_runs_and_puts_out_what_it_shows(monkeypatch, tmp_path):
    """A budget of two short trials gives every table and every figure, and no word on the error output."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.from_dict(NOTEBOOK)
    [budget] = [cell for cell in notebook.cells if "TRIALS, EPOCHS = 20, 8" in cell.source]
    budget.source = budget.source.replace("TRIALS, EPOCHS = 20, 8", "TRIALS, EPOCHS = 2, 2")
    NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}).execute()
    assert kinds_of_data(notebook) == kinds_of_data(NOTEBOOK)
    assert "stderr" not in {output.get("name") for output in outputs(notebook)}
    assert any("best trial" in output.get("data", {}).get("text/plain", "") for output in outputs(notebook))


def test_the_outputs_of_the_notebook_are_those_of_one_run():
    """Its cells ran from top to bottom, without errors, and show tables, figures, a verdict and PyTorch."""
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert "error" not in {output.output_type for output in outputs(NOTEBOOK)}
    assert "stderr" not in {output.get("name") for output in outputs(NOTEBOOK)}
    assert sum("image/png" in kinds for kinds in kinds_of_data(NOTEBOOK)) == 2
    assert sum("text/html" in kinds for kinds in kinds_of_data(NOTEBOOK)) == 2
    printed = "".join(output.get("text", "") for output in outputs(NOTEBOOK))
    assert "fresh seeds that did not select it" in printed
    assert "torch.optim." in printed


def test_the_page_shows_every_example_with_its_lines_and_its_seconds():
    """No file is left out, no count is stale, and each ran to its end within two minutes."""
    page = (ROOT / "docs" / "examples.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}}
    assert {example.file for example in SHOWN} == files
    for example in SHOWN:
        [seconds] = re.findall(rf"^{re.escape(example.row)} (\d+) \|$", page, re.MULTILINE)
        assert int(seconds) < 120
