"""The catalogue: what ships, and that a look at it is cheap."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lrsearch.errors import CodeError, CodeNotAllowedError, TaskError, UnknownNameError
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


OWN = """
import pathlib
pathlib.Path("imported").touch()
import torch
from lrsearch.tasks.task import Task
class Mine(Task):
    batch_size = 7
class Demanding(Task):
    def __init__(self, width): pass
def make(name="made"):
    task = Mine(); task.name = name; return task
def empty(): return 3
def failing(): return [][1]
instance = Mine()
number = 5
Net = torch.nn.Linear
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file of tasks into the working directory, whose import leaves a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own-tasks.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize(("name", "expected"), [("Mine", "Mine"), ("make", "made"), ("instance", "Mine")])
def test_a_reference_is_a_task_of_the_users_own(own: Path, name: str, expected: str) -> None:
    """An instance, a subclass and a function that returns a task all give one."""
    reference = f"own-tasks.py:{name}"
    task = load_task(reference, own, allowed=[reference])
    assert (task.name, task.batch_size) == (expected, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Demanding", r"takes arguments \(width\)"),
        ("empty", "returned a int"),
        ("number", "is a int"),
        ("Net", "is the class Linear"),
    ],
)
def test_a_reference_to_anything_else_is_refused(own: Path, name: str, message: str) -> None:
    """The error says what was found and what is expected."""
    reference = f"own-tasks.py:{name}"
    with pytest.raises(TaskError, match=f"must be a lrsearch Task, a subclass of Task, .*{message}"):
        load_task(reference, own, allowed=[reference])


def test_a_function_that_fails_shows_the_users_frames(own: Path) -> None:
    """As an import that fails does."""
    reference = "own-tasks.py:failing"
    with pytest.raises(CodeError, match="fails when it makes the task") as caught:
        load_task(reference, own, allowed=[reference])
    assert "IndexError" in str(caught.value)
    assert "lrsearch/" not in str(caught.value)


def test_code_that_is_not_allowed_is_never_imported(own: Path) -> None:
    """Neither loading nor looking at a task runs a file that the user did not allow."""
    for allowed in ((), ("own-tasks.py:make",), ("mnist-mlp",)):
        with pytest.raises(CodeNotAllowedError, match=r"--allow-task own-tasks\.py:Mine"):
            load_task("own-tasks.py:Mine", own, allowed=allowed)
    with pytest.raises(UnknownNameError):
        task_info("own-tasks.py:Mine")
    assert not (own / "imported").exists()


def test_a_file_without_a_name_is_answered_with_the_form(own: Path) -> None:
    """The user sees what is missing."""
    with pytest.raises(TaskError, match=r"own-tasks\.py:MyTask"):
        load_task("own-tasks.py", own)
