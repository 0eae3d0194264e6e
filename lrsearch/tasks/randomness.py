"""Random numbers of code that is not ours: fixed while it runs, and the caller's own again afterwards."""

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

CPU = torch.device("cpu")


@contextmanager
def fixed_randomness(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Make the global generators of torch, NumPy and Python depend on a seed, and leave them as they were.

    Args:
        seed: at least 0.
        device: whose generator of torch's is seeded beside the CPU's; that of no other device is touched.
    """
    python, numpy = random.getstate(), np.random.get_state()
    states = [(generator, generator.get_state()) for generator in _torch_generators(device)]
    try:
        for generator, _state in states:
            generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
        random.setstate(python)
        np.random.set_state(numpy)


def random_state() -> tuple[Any, ...]:
    """Return what changes when code draws from a global generator of torch (on the CPU), NumPy or Python."""
    numpy = pickle.dumps(np.random.get_state())
    return torch.random.get_rng_state().numpy().tobytes(), numpy, random.getstate()


def _torch_generators(device: torch.device) -> list[torch.Generator]:
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch ships it untyped; before it there are no generators
        index = torch.cuda.current_device() if device.index is None else device.index
        return [torch.default_generator, torch.cuda.default_generators[index]]
    if device.type == "mps":
        return [torch.default_generator, torch.mps._get_default_mps_generator()]
    return [torch.default_generator]
