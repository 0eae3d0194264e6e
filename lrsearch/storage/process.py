"""Which process this is, so that others of its machine can tell whether it lives."""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
SAME_START_S = 1.0  # clocks that are set may move a process's start a little


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of a machine.

    Args:
        machine: what it shares with processes that can see each other, and with no others: the boot of a
            machine, and on Linux the container.
        host: name of the machine, for people.
        pid: its process id.
        started: when it began, in unix seconds.
    """

    machine: str
    host: str
    pid: int
    started: float


def this_process() -> ProcessIdentity:
    """Return which process this is."""
    return ProcessIdentity(this_machine(), socket.gethostname(), os.getpid(), psutil.Process().create_time())


@cache
def this_machine() -> str:
    """Return what tells this machine's processes that can see each other from all others."""
    try:
        return f"{_BOOT_ID.read_text().strip()}:{_PID_NAMESPACE.readlink().name}"
    except OSError:
        return f"{socket.gethostname()}:{psutil.boot_time():.0f}"


def is_dead_here(machine: str, pid: int, started: float | None) -> bool:
    """Return whether a process is one of this machine that has ended; of other machines nothing is known."""
    if machine != this_machine() or started is None:
        return False
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < SAME_START_S
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
