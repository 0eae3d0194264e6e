"""The catalogue: what ships, and that a look at it is cheap."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lrsearch.errors import UnknownNameError
from lrsearch.tasks import load_task, shipped, task_info, task_names
from lrsearch.tasks.files import datasets

NAMES = ["mnist-mlp", "mnist-mlp-wide", "mnist-cnn", "fashion-mnist-mlp", "digits-mlp"]


def modules_after(code: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has loaded after some code."""
    program = f"{code}\nimport sys; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(output.stdout.split())


def test_the_shipped_tasks_are_listed() -> None:
    """All five names exist, each under its own entry."""
    assert task_names() == NAMES
    assert [task_info(name).name for name in NAMES] == NAMES


def test_looking_at_the_catalogue_imports_no_torch() -> None:
    """Names and descriptions cost no import of torch, torchvision or scikit-learn."""
    code = "import lrsearch.tasks as t, lrsearch.tasks.files; [t.task_info(name) for name in t.task_names()]"
    assert not modules_after(code) & {"torch", "torchvision", "sklearn"}


def test_loading_a_task_imports_no_reader_of_data() -> None:
    """A task is loaded without torchvision and scikit-learn, which only reading the data needs."""
    code = "import pathlib, lrsearch.tasks as t; t.load_task('mnist-mlp', pathlib.Path('nowhere'))"
    loaded = modules_after(code)
    assert "torch" in loaded
    assert not loaded & {"torchvision", "sklearn"}


def test_a_download_is_needed_where_there_are_files_to_fetch() -> None:
    """``needs_download`` agrees with the list of what can be fetched."""
    for name in NAMES:
        info = task_info(name)
        assert info.needs_download == (info.dataset in datasets())
    assert not task_info("digits-mlp").needs_download


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_task_is_what_the_catalogue_says(name: str, tmp_path: Path) -> None:
    """Name and defaults of the loaded task are the entry's; loading touches no data."""
    task, info = load_task(name, tmp_path), task_info(name)
    assert (task.name, task.batch_size, task.epochs) == (info.name, info.batch_size, info.epochs)
    assert list(task.metrics) == ["accuracy"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_task_survives_pickling(name: str, tmp_path: Path) -> None:
    """A spawned worker can be given a task: the copy builds the same model from the same seed."""
    task = load_task(name, tmp_path)
    copy = pickle.loads(pickle.dumps(task))
    torch.manual_seed(7)
    weights = task.build_model().state_dict()
    torch.manual_seed(7)
    assert all(torch.equal(value, weights[key]) for key, value in copy.build_model().state_dict().items())
    assert (copy.name, copy.batch_size, copy.epochs) == (task.name, task.batch_size, task.epochs)


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    """A wrong name brings the nearest right one, whether one asks for the entry or the task."""
    with pytest.raises(UnknownNameError, match=r"unknown task 'mnist-mpl'\. Did you mean 'mnist-mlp'"):
        task_info("mnist-mpl")
    with pytest.raises(UnknownNameError, match="Known: digits-mlp, fashion-mnist-mlp, mnist-cnn"):
        load_task("resnet", tmp_path)


def test_every_entry_can_be_built() -> None:
    """The tables of models and normalisations cover the catalogue, and nothing else."""
    assert list(shipped.MODELS) == NAMES
    assert set(shipped.NORMALIZATIONS) == {task_info(name).dataset for name in NAMES}
