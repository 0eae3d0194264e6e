"""Which process this is, so that others of its machine can tell whether it lives."""

import os
import socket
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_START_FIELD = 19  # of /proc/PID/stat, behind the name of the program
SAME_START_S = 1.0  # elsewhere than on Linux, clocks that are set move a process's start


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of a machine.

    Args:
        machine: what it shares with processes that can see each other, and with no others: the boot of a
            machine, and on Linux the container.
        host: name of the machine, for people.
        pid: its process id.
        started: when it began, in seconds since the machine did; elsewhere than on Linux in unix seconds.
    """

    machine: str
    host: str
    pid: int
    started: float


def this_process() -> ProcessIdentity:
    """Return which process this is."""
    pid = os.getpid()
    return ProcessIdentity(this_machine(), socket.gethostname(), pid, _started(pid))


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
    if not psutil.pid_exists(pid):
        return True
    try:
        same = abs(_started(pid) - started) < SAME_START_S
        return not same or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return not psutil.pid_exists(pid)  # else /proc hides the processes of other users
    except (psutil.Error, OSError):
        return False


def _started(pid: int) -> float:
    """Return when a process began, as ``ProcessIdentity.started``.

    Not in unix seconds where that can be helped: when the machine's clock is set, all of them change.
    """
    if sys.platform != "linux":
        return psutil.Process(pid).create_time()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
