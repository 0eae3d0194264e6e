"""A trained model's weights in a file."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from lrsearch.errors import TaskError


def weights_bytes(model: nn.Module) -> bytes:
    """Return a model's ``state_dict`` in the format of safetensors; tensors that share memory stand twice.

    Raises:
        TaskError: if it holds what is no dense tensor.
    """
    tensors = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            kind = f"{value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
            raise TaskError(
                f"weights are stored as dense tensors, but {name!r} in the model's state_dict() is a {kind}; "
                "leave it, or get_extra_state(), out of the model"
            )
        # In copies, because safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    try:
        return save(tensors)
    except (SafetensorError, ValueError) as error:
        raise TaskError(f"the model's weights cannot be stored as safetensors: {error}") from error


def write_weights(model: nn.Module, path: Path) -> None:
    """Write a model's weights: ``model.load_state_dict(safetensors.torch.load_file(path))`` reads them."""
    path.write_bytes(weights_bytes(model))
