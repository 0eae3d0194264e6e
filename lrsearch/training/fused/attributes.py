"""What task and modules keep in Python, where lanes would share it: seen before and after a step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from lrsearch.tasks.task import Task

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_ELEMENTS = 1000  # of a container that are looked at
_DEPTH = 4  # of containers within containers


def attributes(task: Task, model: nn.Module) -> dict[str, Any]:
    """Return the state of all attributes of a task and its model beside parameters, buffers and modules.

    It holds no reference to what may change: values that are equal before and after a step are unchanged.
    """
    found = {}
    for path, module in model.named_modules():
        owner = f"{type(module).__name__}" + (f" {path!r}" if path else "")
        for name, value in vars(module).items():
            if name not in _OF_EVERY_MODULE:
                found[f"{name} of {owner}"] = _state(value)
    return found | {f"{name} of {task.name}": _state(value) for name, value in vars(task).items()}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs."""
    return [name for name in after if name not in before or before[name] != after[name]]


def _state(value: Any, depth: int = _DEPTH) -> Any:
    """Return what equals the state of a value as long as it does not change, as far as that can be seen."""
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return value
    if isinstance(value, Tensor):
        return id(value), value._version  # counts what is written in place
    if isinstance(value, np.ndarray | np.generic):
        return value.tobytes() if value.nbytes <= _ELEMENTS else id(value)
    if depth and isinstance(value, Mapping):
        parts = list(value.items())[:_ELEMENTS]
        return len(value), [(_state(key, depth - 1), _state(part, depth - 1)) for key, part in parts]
    if depth and isinstance(value, Sequence | set | frozenset):
        return len(value), [_state(part, depth - 1) for part in list(value)[:_ELEMENTS]]
    return id(value)
