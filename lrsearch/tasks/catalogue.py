"""The shipped tasks by name; torch is imported when one is loaded, not before."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lrsearch.errors import UnknownNameError

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task

DatasetName = Literal["mnist", "fashion-mnist", "digits"]


@dataclass(frozen=True)
class TaskInfo:
    """What is known of a shipped task without loading it.

    Args:
        name: the name that study files use.
        summary: one line for lists.
        batch_size: examples per update, unless the study says otherwise.
        epochs: passes over the training split, unless the study says otherwise.
        dataset: the data set that it learns.
    """

    name: str
    summary: str
    batch_size: int
    epochs: int
    dataset: DatasetName

    @property
    def needs_download(self) -> bool:
        """Whether the data set must be fetched first; ``digits`` comes with scikit-learn."""
        return self.dataset != "digits"


_TASKS = {
    info.name: info
    for info in (
        TaskInfo("mnist-mlp", "MNIST digits, 784-64-32-10 perceptron", 32, 10, "mnist"),
        TaskInfo("mnist-mlp-wide", "MNIST digits, 784-256-128-10 perceptron", 32, 10, "mnist"),
        TaskInfo("mnist-cnn", "MNIST digits, LeNet-5-like convolutional network", 32, 10, "mnist"),
        TaskInfo("fashion-mnist-mlp", "Fashion-MNIST, 784-64-32-10 perceptron", 32, 10, "fashion-mnist"),
        TaskInfo("digits-mlp", "scikit-learn's 8x8 digits, 64-32-10 perceptron", 32, 20, "digits"),
    )
}


def task_names() -> list[str]:
    """Return the names of the shipped tasks, the one to start with first."""
    return list(_TASKS)


def task_info(name: str) -> TaskInfo:
    """Return what is known of a shipped task without loading it.

    Args:
        name: one of ``task_names()``.

    Raises:
        UnknownNameError: no task has that name.
    """
    if name not in _TASKS:
        raise UnknownNameError("task", name, _TASKS)
    return _TASKS[name]


def load_task(name: str, data_dir: Path) -> "Task":
    """Return a shipped task; its data is read, and fetched if missing, when its ``splits()`` are asked for.

    Args:
        name: one of ``task_names()``.
        data_dir: folder of the data sets, see ``lrsearch.tasks.files.data_dir``.

    Raises:
        UnknownNameError: no task has that name.
    """
    info = task_info(name)
    from lrsearch.tasks.shipped import build  # here, because it imports torch

    return build(info, data_dir)
