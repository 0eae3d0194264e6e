"""Which process a worker is, and whether it lives."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from lrsearch.storage.process import ProcessIdentity, is_dead_here, this_machine, this_process

PRINT_IDENTITY = """
from lrsearch.storage.process import this_process
print(this_process(), flush=True)
input()
"""


def is_dead(process: ProcessIdentity) -> bool:
    """Return whether a process of this machine has ended."""
    return is_dead_here(process.machine, process.pid, process.started)


@pytest.fixture
def sleeper() -> Iterator[tuple["subprocess.Popen[bytes]", ProcessIdentity]]:
    """A process that waits for its input, and which one it says that it is."""
    command = [sys.executable, "-c", PRINT_IDENTITY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        yield process, eval(line, {"ProcessIdentity": ProcessIdentity})
        process.kill()


def test_a_process_knows_itself() -> None:
    """It lives, and says the same of itself whenever it is asked."""
    assert this_process() == this_process()
    assert this_process().pid == os.getpid()
    assert this_process().machine == this_machine() != ""
    assert not is_dead(this_process())


def test_another_process_of_the_machine_lives_until_it_ends(
    sleeper: tuple["subprocess.Popen[bytes]", ProcessIdentity],
) -> None:
    """It is dead when it was killed, even before anyone has noticed, and afterwards."""
    process, identity = sleeper
    assert (identity.machine, identity.pid) == (this_machine(), process.pid)
    assert not is_dead(identity)
    process.kill()
    deadline = time.monotonic() + 10
    while not is_dead(identity) and time.monotonic() < deadline:
        time.sleep(0.01)  # a zombie by then: nobody has waited for it
    assert is_dead(identity)
    process.wait()
    assert is_dead(identity)


def test_a_process_that_is_frozen_lives(
    sleeper: tuple["subprocess.Popen[bytes]", ProcessIdentity],
) -> None:
    """Whether it holds its trials is for its leases to say."""
    process, identity = sleeper
    psutil.Process(process.pid).suspend()
    assert not is_dead(identity)


def test_an_earlier_process_of_the_same_id_is_dead() -> None:
    """Ids are used again: another start is another process."""
    earlier = replace(this_process(), started=this_process().started - 60)
    assert is_dead(earlier)


def test_nothing_is_known_of_other_machines_or_of_unknown_starts() -> None:
    """Neither is a process dead because none of its id is here."""
    here = this_process()
    gone = replace(here, pid=2**22 + 1)  # above the largest id that Linux gives
    assert is_dead(gone)
    assert not is_dead(replace(gone, machine="another"))
    assert not is_dead(replace(gone, machine=""))
    assert not is_dead_here(here.machine, gone.pid, None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the start is told by the clock")
def test_a_clock_that_is_set_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unix time at which a machine has started, and so each of its processes, changes by an hour."""
    before = this_process()
    boot_time = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time + 3600)
    assert psutil.Process().create_time() == pytest.approx(boot_time + 3600 + before.started, abs=2)
    assert this_process() == before
    assert not is_dead(before)
