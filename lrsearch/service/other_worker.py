"""Another worker process of this run, as the process knows it that has started it."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

import psutil

from lrsearch.service.local_worker import STOP, Errand, Farewell, work
from lrsearch.service.progress import Progress

if TYPE_CHECKING:
    from lrsearch.service.local_worker import Pipe
    from lrsearch.service.studies import OpenStudy

NEEDS_GUARD = 79  # exit code of a process that has begun the user's script anew
GUARD = (
    'it has begun the script anew, as all workers do: call lrsearch.optimize below if __name__ == "__main__":'
)


class OtherWorker:
    """A worker process, started at once.

    Args:
        number: its index, from 1.
        errand: what it prepares.
    """

    def __init__(self, number: int, errand: Errand) -> None:
        self.number = number
        self.farewell: Farewell | None = None  # until it has said one, or was dismissed
        spawn = multiprocessing.get_context("spawn")
        self.pipe: Pipe
        self.pipe, theirs = spawn.Pipe()
        # No daemon: those may start no processes, and a task's data may be read by some.
        self._process = spawn.Process(target=work, args=(theirs, errand), name=f"lrsearch-worker-{number}")
        with theirs, ctrl_c_held_back():
            try:
                self._process.start()
            except RuntimeError:
                # By multiprocessing: the user's script, begun anew in another worker, starts workers itself.
                raise SystemExit(NEEDS_GUARD) from None

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    @property
    def memory_bytes(self) -> int:
        """What it holds of the machine's memory; 0 if it has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def begin(self, study: "OpenStudy") -> None:
        """Let it train a study's trials."""
        self._send(study)

    def dismiss(self) -> None:
        """Let it go before it has begun."""
        self.farewell = Farewell()
        self.ask_to_stop()

    def ask_to_stop(self) -> None:
        """Let it stop after its epoch, and release its trials."""
        self._send(STOP)

    def end_at_once(self) -> None:
        """Let it release what it holds, in the middle of an epoch too, and end."""
        self._send(STOP)
        self._process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, and kill it after a time."""
        self._process.join(timeout_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def hear(self) -> tuple[list[Progress], bool]:
        """Return what it has said since the last time, and whether it will say no more."""
        heard: list[Progress] = []
        alive = self._process.is_alive()  # asked first: what it said last is still to be read
        try:
            while self.farewell is None and self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, Farewell):
                    self.farewell = message
                else:
                    heard.append(message)
        except (EOFError, OSError):
            return heard, True
        return heard, self.farewell is not None or not alive

    @property
    def reason(self) -> str | None:
        """Why it has ended before the run did; None if it did not."""
        if self.farewell is not None:
            return self.farewell.reason
        code = self._process.exitcode
        if code == NEEDS_GUARD:
            return GUARD
        if code is None or code >= 0:
            return f"it left with exit code {code}"
        name = signal.Signals(-code).name
        return f"it was killed by {name}{', as when memory runs out' if name == 'SIGKILL' else ''}"

    def _send(self, message: object) -> None:
        with suppress(OSError):  # it has died, which will be heard
            self.pipe.send(message)


@contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach while they start; this one gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # to start it at the first process would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
