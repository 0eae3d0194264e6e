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
        device: whose generator of torch's is seeded beside the CPU's.
    """
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                torch.cuda.manual_seed_all(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def random_state() -> tuple[Any, ...]:
    """Return what changes when code draws from a global generator of torch (on the CPU), NumPy or Python."""
    numpy = pickle.dumps(np.random.get_state())
    return torch.random.get_rng_state().numpy().tobytes(), numpy, random.getstate()
