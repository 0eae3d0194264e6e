"""Builds the optimizer of a trial, of ``torch.optim`` or another package."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch.optim import Optimizer

from lrsearch.errors import SpecError
from lrsearch.optimizers import SCHEDULE_FREE, OptimizerKind, optimizer_named

_HELP = {"Muon": ". Freeze the others in [groups], or choose an optimizer for all parameters, such as AdamW"}


def build_optimizer(
    name: str,
    parameters: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]],
    lr: float,
    knobs: Mapping[str, Any],
) -> Optimizer:
    """Return an optimizer; a schedule-free one is in its training mode.

    Args:
        name: its class.
        parameters: what it updates: parameters, or the groups of ``parameter_groups``, whose ``lr_scale``
            becomes a learning rate of their own.
        lr: learning rate of the first update, where ``lr_scale`` is 1.
        knobs: its parameters by name, as :data:`lrsearch.optimizers.OPTIMIZERS` names them.

    Raises:
        UnknownNameError: if there is no such optimizer, or it has no such knob.
        SpecError: if the optimizer cannot train these parameters, or not with these knobs, or its package is
            not installed.
    """
    kind = optimizer_named(name)
    arguments, build = kind.arguments(knobs), optimizer_class(kind)
    groups = [_with_lr(group, lr) if isinstance(group, dict) else group for group in parameters]
    if name == "LBFGS":
        groups = _single(groups)
    try:
        optimizer = build(groups, lr=float(lr), **arguments)
    except ValueError as error:
        raise SpecError(f"{kind.package}.{name}: {error}{_HELP.get(name, '')}") from None
    if kind.is_schedule_free:
        optimizer.train()  # type: ignore[attr-defined]  # which torch's own do not have
    return optimizer


def optimizer_class(kind: OptimizerKind) -> Callable[..., Optimizer]:
    """Return the class of an optimizer.

    Raises:
        SpecError: if its package is not installed.
    """
    try:
        package = import_module(kind.package)
    except ModuleNotFoundError as error:
        if kind.package != SCHEDULE_FREE:
            raise
        raise SpecError(
            f"{kind.name} comes with the package {SCHEDULE_FREE}, which is not installed: "
            f"pip install 'lrsearch[{SCHEDULE_FREE}]'"
        ) from error
    found: Callable[..., Optimizer] = getattr(package, kind.name)
    return found


def _with_lr(group: Mapping[str, Any], lr: float) -> dict[str, Any]:
    return {**group, "lr": lr * group.get("lr_scale", 1.0)}


def _single(groups: list[Any]) -> list[Any]:
    """Return groups of one scale as one: L-BFGS takes a single step in all parameters together."""
    if not groups or not isinstance(groups[0], dict):
        return groups
    scales = sorted({group.get("lr_scale", 1.0) for group in groups})
    if len(scales) > 1:
        raise SpecError(
            "LBFGS updates all parameters with one learning rate, but the groups have the scales "
            f"{', '.join(f'{scale:g}' for scale in scales)}; leave lr_scale and layer_decay out, or choose "
            "another optimizer"
        )
    return [{**groups[0], "params": [parameter for group in groups for parameter in group["params"]]}]
