"""What the functions of the Python interface take, turned into what a study file says."""

import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.errors import SpecError, TaskError
from lrsearch.service.tasks import name_of
from lrsearch.storage.database import Database, open_database
from lrsearch.tasks.catalogue import load_task
from lrsearch.tasks.files import data_dir as find_data_dir
from lrsearch.tasks.rules import check_task

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task


def as_table(optimizer: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the table ``[optimizer]`` that a name, or a table, means.

    Raises:
        SpecError: if it is neither.
    """
    if isinstance(optimizer, str):
        return {"name": optimizer}
    if not isinstance(optimizer, Mapping):
        raise SpecError(
            "optimizer must be the name of a class of torch.optim, such as 'Adam', or a table such as "
            f"{{'name': 'Adam', 'weight_decay': 0.01}}, but got {optimizer!r}"
        )
    return dict(optimizer)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def load(task: "Task | str", data_dir: Path | None) -> "Task":
    """Return the task; a reference that stands in the user's own program is allowed by that.

    Raises:
        TaskError: if it is no task, or one with attributes that none can have.
    """
    from lrsearch.tasks.task import Task

    if isinstance(task, str):
        return load_task(task, find_data_dir(data_dir), (task,))
    if not isinstance(task, Task):
        raise TaskError(
            "task must be an lrsearch.Task, or the name of one, but got "
            f"{task!r:.80}; make one from a model factory and data: lrsearch.Task.from_tensors(...)"
        )
    check_task(task)
    return task


def stored_name(task: "Task | str") -> str:
    """Return the name under which a study stores a task."""
    return task if isinstance(task, str) else name_of(task)


def database_at(storage: str | None) -> Database:
    """Open the database that is asked for, else that of ``LRSEARCH_STORAGE``, else the default."""
    return open_database(storage or os.environ.get("LRSEARCH_STORAGE") or None)


def new_name(subject: str) -> str:
    """Return the name of a new study: what it is of, and the time.

    Args:
        subject: such as a task's name.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", subject).strip("-._") or "study"
    return f"{plain[:60]}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
