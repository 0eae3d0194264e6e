"""How many cores of the machine this process may use, alone or with others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return the number of cores that this process may keep busy, at least 1.

    Args:
        quota: the file in which a Linux control group (version 2) keeps its share of processor time.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time_us, period_us = quota.read_text().split()
        return max(1, min(allowed, int(time_us) // int(period_us)))
    except (OSError, ValueError):  # no control group, or no quota ("max")
        return allowed


@contextmanager
def share_of_cores(processes: int) -> Iterator[None]:
    """Let PyTorch compute with this process's share of the cores, at least one.

    Args:
        processes: that train at once on this machine, this one among them.
    """
    import torch  # here, because it takes a second

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, usable_cores() // processes)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
