"""Builds the optimizer of a trial with ``torch.optim``."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from lrsearch.errors import UnknownNameError

_CLASSES: Mapping[str, Callable[..., Optimizer]] = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}


def build_optimizer(
    name: str, parameters: Iterable[torch.nn.Parameter], lr: float, knobs: Mapping[str, Any]
) -> Optimizer:
    """Return an optimizer of ``torch.optim``.

    Args:
        name: SGD, Adam or AdamW.
        parameters: what it updates.
        lr: learning rate of the first update.
        knobs: its parameters by name; ``beta1`` and ``beta2`` become ``betas``.

    Raises:
        UnknownNameError: if there is no such optimizer.
    """
    if name not in _CLASSES:
        raise UnknownNameError("optimizer", name, _CLASSES)
    arguments = {key: value for key, value in knobs.items() if key not in {"beta1", "beta2"}}
    if "beta1" in knobs:
        arguments["betas"] = (knobs["beta1"], knobs["beta2"])
    return _CLASSES[name](parameters, lr=lr, **arguments)
