"""What a model is made of, as one short text that another model does not have."""

import hashlib
import re

import torch

from lrsearch.tasks.task import Task
from lrsearch.training.eager import build_model

_ADDRESS = re.compile(r"0x[0-9a-f]+")  # of functions that a module prints: another one in each process


def model_signature(task: Task) -> str:
    """Return a digest of a model's layers, their settings, and names, shapes and dtypes of its tensors.

    Versions of PyTorch print layers differently. What ``forward`` does between the layers is not seen.
    """
    model = build_model(task, 0, torch.device("cpu"))
    digest = hashlib.blake2b(_ADDRESS.sub("", str(model)).encode(), digest_size=16)
    for name, value in model.state_dict().items():
        shape = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else ""
        digest.update(f"{name} {shape}\n".encode())
    return digest.hexdigest()
