"""All that training changes in a model: its tensors, and what its modules keep in plain numbers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lrsearch.training.saved_lane import copied, fill

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def model_state(model: nn.Module) -> dict[str, Any]:
    """Return copies of what :func:`restore_model` needs: parameters, all buffers, numbers, extra state.

    What modules keep elsewhere, as in lists or tensors that are no buffers, is no part of it.
    """
    return {
        "tensors": copied(tensors_by_name(model)),
        "attributes": {path: _plain_attributes(module) for path, module in model.named_modules()},
        "extra": {path: copied(module.get_extra_state()) for path, module in _with_extra_state(model)},
    }


def restore_model(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Make a freshly built model what another one was when its state was taken.

    Raises:
        MisfitError: if they have other tensors.
    """
    fill(tensors_by_name(model), state["tensors"])
    for path, values in state["attributes"].items():
        vars(model.get_submodule(path)).update(values)
    for path, module in _with_extra_state(model):
        module.set_extra_state(state["extra"][path])


def tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's parameters and buffers by name, those included that a state_dict leaves out."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    plain = bool | int | float | str
    values = {name: value for name, value in vars(module).items() if isinstance(value, plain)}
    return {name: value for name, value in values.items() if name not in _OF_EVERY_MODULE}


def _with_extra_state(model: nn.Module) -> list[tuple[str, nn.Module]]:
    plain = nn.Module.get_extra_state
    return [(path, each) for path, each in model.named_modules() if type(each).get_extra_state is not plain]
