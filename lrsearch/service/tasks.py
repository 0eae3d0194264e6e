"""Which task a specification means: one that comes with lrsearch, code that a user named, or an object."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.code import is_reference, load
from lrsearch.errors import SpecError, TaskError, UnknownNameError
from lrsearch.schedules.own import register
from lrsearch.spec import EXTERNAL, OBJECT, StudySpec
from lrsearch.tasks.catalogue import load_task, task_info, task_names
from lrsearch.tasks.files import data_dir as find_data_dir

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task


@dataclass(frozen=True)
class TaskDefaults:
    """What a study takes from its task where its specification is silent.

    Args:
        epochs: passes over the training split.
        batch_size: examples per forward pass; None where a script of the user's decides it.
    """

    epochs: int
    batch_size: int | None


def task_defaults(spec: StudySpec) -> TaskDefaults:
    """Return what is known of a specification's task without loading it.

    Raises:
        UnknownNameError: if no task of that name comes with lrsearch, and the specification leaves it open.
        SpecError: if the training is a script of the user's, and the specification has no epochs.
    """
    if spec.task == EXTERNAL:
        if spec.epochs is None:
            raise SpecError(
                f'epochs is missing: where task = "{EXTERNAL}" only you know how long your script trains; '
                "write, for example, epochs = 10"
            )
        return TaskDefaults(spec.epochs, None)
    if spec.task in task_names():
        info = task_info(spec.task)
        return TaskDefaults(info.epochs, info.batch_size)
    if spec.epochs is None or spec.batch_size is None:
        raise UnknownNameError("task", spec.task, task_names())
    return TaskDefaults(spec.epochs, spec.batch_size)


def name_of(task: "Task") -> str:
    """Return the name under which a specification stores a task that was given as an object."""
    from lrsearch.tasks.classification import Classification  # here, because it imports torch

    shipped = isinstance(task, Classification) and task.name in task_names()
    return task.name if shipped else f"{task.name}{OBJECT}"


def find_task(spec: StudySpec, data_dir: Path | None = None, allowed: Collection[str] = ()) -> "Task":
    """Return a specification's task.

    Args:
        spec: whose task.
        data_dir: folder of the data sets, or None for the default.
        allowed: references of code that the user named or allowed.

    Raises:
        UnknownNameError: if there is no such task.
        TaskError: if the task was an object of a Python program, or is a script of the user's.
        CodeNotAllowedError: if the task is code that the user did not name.
    """
    if spec.task.endswith(OBJECT):
        raise TaskError(
            f"the task of study {spec.name!r} was given as an object in Python; "
            f"go on there: lrsearch.optimize(task, name={spec.name!r}, ...)"
        )
    if spec.task == EXTERNAL:
        raise TaskError(
            f"study {spec.name!r} has task = {EXTERNAL!r}: code of yours trains it.\n"
            f"A search in one call goes on by the same call, with name={spec.name!r}.\n"
            "In a script of your own: with lrsearch.trial(NAME_OR_FILE) as t: ...\n"
            'Or run it for every trial: lrsearch worker --study NAME_OR_FILE --command "python train.py"'
        )
    return load_task(spec.task, find_data_dir(data_dir), allowed)


def load_kinds(spec: StudySpec, allowed: Collection[str] = ()) -> None:
    """Load the schedules of the user's own that a specification lists.

    Raises:
        CodeNotAllowedError: if one is code that the user did not name.
        SpecError: if it is no schedule.
    """
    for kind in spec.space.kinds or ():
        if is_reference(kind):
            register(kind, load(kind, allowed))
