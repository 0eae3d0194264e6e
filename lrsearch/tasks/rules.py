"""The rules that a task's attributes keep, whichever way the task was made."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lrsearch.errors import TaskError

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task

_COUNTS = ("batch_size", "epochs", "accumulate")


def check_task(task: "Task") -> None:
    """Refuse a task whose attributes are not what ``Task`` says they are.

    Raises:
        TaskError: with the attribute, the rule that it breaks, and its value.
    """
    if not isinstance(task.name, str) or not task.name:
        raise TaskError(f"the name of a {type(task).__name__} must be a text, but got {task.name!r}")
    for name in _COUNTS:
        _check_count(task, name)
    if task.validation_batch_size is not None:
        _check_count(task, "validation_batch_size", ", or None for four times the batch size")
    if not isinstance(task.amp, bool):
        raise TaskError(f"{task.name}: amp must be True or False, but got {task.amp!r}")
    _check_clip_norm(task)
    _check_metrics(task)


def check_function(name: str, function: Any) -> None:
    """Refuse what cannot be called, and a class in the place of its instance.

    Args:
        name: how the message calls it.
        function: what must be a function.

    Raises:
        TaskError: if it is none.
    """
    if not callable(function) or isinstance(function, type):
        hint = f"; did you mean {function.__name__}()?" if isinstance(function, type) else ""
        raise TaskError(f"{name} must be a function, but got {function!r}{hint}")


def _check_count(task: "Task", name: str, alternative: str = "") -> None:
    value = getattr(task, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TaskError(
            f"{task.name}: {name} must be a whole number of at least 1{alternative}, but got {value!r}"
        )


def _check_clip_norm(task: "Task") -> None:
    value: Any = task.clip_norm
    number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if value is not None and not (number and value > 0):
        raise TaskError(f"{task.name}: clip_norm must be above 0, or None for no limit, but got {value!r}")


def _check_metrics(task: "Task") -> None:
    metrics: Any = task.metrics
    if not isinstance(metrics, Mapping) or not all(isinstance(name, str) for name in metrics):
        raise TaskError(
            f"{task.name}: metrics must be functions by name, such as {{'mae': F.l1_loss}}, "
            f"but got {metrics!r}"
        )
    if "loss" in metrics:
        raise TaskError(
            f"{task.name}: a metric cannot be named 'loss', which is what trials are compared on; give it "
            "another name"
        )
    for name, metric in metrics.items():
        check_function(f"{task.name}: metrics[{name!r}]", metric)
