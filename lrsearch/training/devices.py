"""Which device trains, and with how many threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.parameter import is_lazy

from lrsearch.errors import DeviceError

SMALL_MODEL_PARAMETERS = 1_000_000


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` takes cuda, mps or cpu, the first that exists.

    Raises:
        DeviceError: if this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {name!r} was asked for, but PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use --device auto or --device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            "device 'mps' was asked for, but is not available; use --device auto or --device cpu"
        )
    return device


def allow_tf32(device: torch.device) -> None:
    """Let a GPU multiply float32 matrices in TF32, from now on and in all of this process.

    Products then have 10 bits of mantissa in place of 23, and are several times as fast on GPUs that know it.
    Elsewhere nothing changes.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


@contextmanager
def threads_for(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Train a small model on a CPU with one thread: its operations are too short to share among several."""
    before = torch.get_num_threads()
    sizes = [each.numel() for each in model.parameters() if not is_lazy(each)]  # whose first batch sizes it
    small = sum(sizes) < SMALL_MODEL_PARAMETERS
    if device.type == "cpu" and small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out: a GPU's, or this machine's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # the CPU's allocator
