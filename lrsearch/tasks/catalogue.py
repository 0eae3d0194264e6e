"""Tasks by name, shipped or the user's own; torch is imported when one is loaded, not before."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lrsearch.code import is_reference, load, user_traceback
from lrsearch.errors import CodeError, InputError, TaskError, UnknownNameError
from lrsearch.tasks.rules import check_task

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
    """Return what is known of a shipped task without loading it; nothing is imported, whatever the name.

    Args:
        name: one of ``task_names()``.

    Raises:
        UnknownNameError: no shipped task has that name.
    """
    if name not in _TASKS:
        raise UnknownNameError("task", name, _TASKS)
    return _TASKS[name]


def load_task(name: str, data_dir: Path, allowed: Collection[str] = ()) -> "Task":
    """Return a task; its data is read, and fetched if missing, when its ``splits()`` are asked for.

    Args:
        name: one of ``task_names()``, or a reference to the user's code, ``package.module:name`` or
            ``path/to/file.py:name``: to a task, a subclass of ``Task``, or a function that returns a task.
        data_dir: folder of the data sets, see ``lrsearch.tasks.files.data_dir``.
        allowed: references that may be imported.

    Raises:
        UnknownNameError: no task has that name.
        CodeNotAllowedError: the reference is not among the allowed ones; nothing is imported.
        CodeError: the code cannot be imported, or fails when it makes the task.
        TaskError: the reference names something else, or a task with attributes that none can have.
    """
    if is_reference(name):
        task = _task_from(load(name, allowed), name)
        check_task(task)
        return task
    if name.endswith(".py"):
        raise TaskError(f"{name!r} is a file; say what in it is the task: {name}:MyTask")
    info = task_info(name)
    from lrsearch.tasks.shipped import build  # here, because it imports torch

    return build(info, data_dir)


def _task_from(named: object, reference: str) -> "Task":
    from lrsearch.tasks.task import Task  # here, because it imports torch

    if isinstance(named, Task):
        return named
    if not (inspect.isfunction(named) or (isinstance(named, type) and issubclass(named, Task))):
        raise TaskError(_expectation(reference, f"is {_described(named)}"))
    if needed := _arguments(named):
        raise TaskError(_expectation(reference, f"takes arguments ({', '.join(needed)})"))
    try:
        made = named()
    except InputError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise CodeError(f"{reference} fails when it makes the task:\n{user_traceback(error)}") from None
    if not isinstance(made, Task):
        raise TaskError(_expectation(reference, f"returned {_described(made)}"))
    return made


def _arguments(function: Callable[..., object]) -> list[str]:
    """Return the names of the arguments that must be given."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.default is each.empty and each.kind not in variadic]


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _expectation(reference: str, got: str) -> str:
    return (
        f"{reference} must be a lrsearch Task, a subclass of Task, or a function that returns a Task, both "
        f"without arguments, but it {got}; Task.from_tensors(...) makes a task of a model and its data"
    )
