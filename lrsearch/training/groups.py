"""Parameter groups: which factor on the learning rate each parameter of a model trains with."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lrsearch.errors import SpecError, suggestion
from lrsearch.schedules import Hyperparameters

REST = "*"  # name of the group of what no pattern matches
NAMED_IN_ERRORS = 20


def parameter_groups(model: nn.Module, hyperparameters: Hyperparameters) -> list[dict[str, Any]]:
    """Freeze what is to be frozen, and return the rest of the parameters by their factor.

    Parameters are named as ``model.named_parameters()`` names them, shared ones once; one takes the factor
    of the first pattern that its name matches (``fnmatch``), else 1, times the layer decay to the power of
    the layers above it. Parameters that need no gradient are in no group.

    Args:
        model: whose parameters.
        hyperparameters: with ``lr_scales``, ``layer_decay`` and ``frozen``.

    Returns:
        groups as ``torch.optim`` takes them: ``params``, ``lr_scale`` and ``name``, which is the pattern.

    Raises:
        SpecError: if a pattern matches no parameter, or nothing is left to train.
    """
    check_groups(model, hyperparameters)
    scales, decay = hyperparameters.lr_scales, hyperparameters.layer_decay
    above = layers_above(model)
    groups: dict[tuple[str, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if _first_match(name, hyperparameters.frozen) is not None:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            pattern = _first_match(name, scales) or REST
            scale = scales.get(pattern, 1.0) * decay ** above[name]
            group = {"params": [], "lr_scale": scale, "name": pattern}
            groups.setdefault((pattern, scale), group)["params"].append(parameter)
    return list(groups.values())


def check_groups(model: nn.Module, hyperparameters: Hyperparameters) -> None:
    """Refuse patterns that do not fit a model, and leave the model as it is.

    Raises:
        SpecError: if a pattern matches no parameter, is never reached, or nothing is left to train.
    """
    names = [name for name, _parameter in model.named_parameters()]
    for pattern in (*hyperparameters.frozen, *hyperparameters.lr_scales):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SpecError(
                f"groups: no parameter of the model matches {pattern!r}.{_nearest(pattern, names)}"
            )
    _check_trained(model, hyperparameters.frozen)
    _check_reached(names, list(hyperparameters.lr_scales))


def layers_above(model: nn.Module) -> dict[str, int]:
    """Return how many layers lie above each parameter's, by name, in the order of the model's modules.

    A layer begins at each module that owns a parameter of two or more dimensions; modules with others alone
    (norms) belong to the layer before them, or to the first.
    """
    parameters = list(model.named_parameters())
    layers = list(dict.fromkeys(_owner(name) for name, parameter in parameters if parameter.ndim > 1))
    layer, above = 0, {}
    for name, _parameter in parameters:
        layer = layers.index(_owner(name)) if _owner(name) in layers else layer
        above[name] = len(layers[layer + 1 :])
    return above


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give each group its part of a learning rate, in proportion to its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _first_match(name: str, patterns: Iterable[str]) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def _check_trained(model: nn.Module, frozen: Sequence[str]) -> None:
    free = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    if all(_first_match(name, frozen) is not None for name in free):
        why = f"{', '.join(map(repr, frozen))} freeze all of them" if frozen else "it has none that need one"
        raise SpecError(f"groups: the model needs a parameter to train, but {why}")


def _check_reached(names: Sequence[str], patterns: Sequence[str]) -> None:
    reached = {_first_match(name, patterns) for name in names}
    for pattern in patterns:
        if pattern not in reached:
            raise SpecError(
                "groups: a parameter takes the first pattern that it matches, and all that match "
                f"{pattern!r} match a pattern before it; write {pattern!r} above the others"
            )


def _nearest(pattern: str, names: Sequence[str]) -> str:
    """Return a sentence with the names that are most like a pattern, all of them if they are few."""
    if len(names) <= NAMED_IN_ERRORS:
        return suggestion(pattern, names)
    nearest = get_close_matches(pattern, names, n=NAMED_IN_ERRORS, cutoff=0.0)
    return f"{suggestion(pattern, nearest)} These are the nearest of {len(names)}."
