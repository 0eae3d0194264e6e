"""Checks of what trains: GPUs, or the cores of this machine, and the memory that processes share."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.errors import DeviceError
from lrsearch.service.cores import usable_cores
from lrsearch.service.doctor.finding import Finding, ok, warning, wrong

if TYPE_CHECKING:
    import torch

SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED_BYTES = 256 * 2**20  # containers have 64 MiB unless told otherwise
PRODUCT_SIZE = 64


def check_device(name: str) -> Iterator[Finding]:
    """Compute a small product on the device that is asked for, and on all GPUs if none is.

    Args:
        name: as in ``--device``.
    """
    import torch  # here, because it takes a second

    from lrsearch.training.devices import resolve_device

    try:
        device = resolve_device(name)
    except (DeviceError, RuntimeError) as error:
        yield wrong(
            f"device {name}", str(error).splitlines()[0], "lrsearch doctor --device auto shows what is there"
        )
        return
    if device.type != "cuda":
        yield from _other(device)
    elif name == "auto":
        for index in range(torch.cuda.device_count()):
            yield _computed(torch.device("cuda", index))
    else:
        yield _computed(device)


def check_shared_memory(folder: Path = SHARED_MEMORY) -> Iterator[Finding]:
    """Look at the memory that processes share, where the system keeps it in a folder."""
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_SHARED_BYTES:
        yield warning(
            "shared memory",
            f"{folder} has {free / 2**20:.0f} MiB free",
            "several workers, and data that is loaded by processes, need more: docker run --shm-size=1g",
        )
    else:
        yield ok("shared memory", f"{folder} has {free / 2**20:,.0f} MiB free")


def _other(device: "torch.device") -> Iterator[Finding]:
    import torch

    if device.type == "cpu" and shutil.which("nvidia-smi") and not torch.cuda.is_available():
        build = (
            "is built without CUDA"
            if torch.version.cuda is None
            else f"is built for CUDA {torch.version.cuda}"
        )
        yield warning(
            "device",
            f"there is an NVIDIA driver, but PyTorch {torch.__version__} {build} and sees no GPU",
            "compare nvidia-smi with the choices on https://pytorch.org/get-started/locally",
        )
    yield _computed(device)


def _computed(device: "torch.device") -> Finding:
    import torch

    check = f"device {device}"
    try:
        ones = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, device=device)
        right = float((ones @ ones).sum()) == PRODUCT_SIZE**3
    except RuntimeError as error:
        return wrong(
            check, f"a small product fails: {str(error).splitlines()[0]}", "update its driver or PyTorch"
        )
    if not right:
        return wrong(check, "a small product is computed wrong", "do not train with it; replace it")
    return ok(check, _described(device))


def _described(device: "torch.device") -> str:
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free; a small product is right"
    cores = f"{usable_cores()} cores may be used; " if device.type == "cpu" else ""
    return f"{cores}a small product is right"
