"""The worker processes of a run: hired, hit and replaced."""

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess

from benchmarks.chaos.worker import Task, work

CLOCK_ERRORS_S = (0.0, 3600.0, -3600.0)


@dataclass(frozen=True)
class Hit:
    """What was done to a worker.

    Args:
        pid: of the worker.
        at_s: when, in unix seconds.
    """

    pid: int
    at_s: float


class Crew:
    """Workers of one study.

    Args:
        task: of each worker.
        seed: of the choice of victims.
        wrong_clocks: whether the clocks of two in three workers are wrong.
    """

    def __init__(self, task: Task, seed: int, *, wrong_clocks: bool = False) -> None:
        self._task, self._random = task, random.Random(seed)
        self._clock_errors = itertools.cycle(CLOCK_ERRORS_S if wrong_clocks else CLOCK_ERRORS_S[:1])
        # Their processes are copies of one that has imported everything, which takes seconds.
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["benchmarks.chaos.worker"])
        self._alive: list[ForkServerProcess] = []
        self._frozen: list[ForkServerProcess] = []
        self.hits: list[Hit] = []
        self.mishaps: list[str] = []
        """What workers that ended by an error have said last."""
        self.finished = 0
        """Number of workers that ended because the budget was spent."""

    def hire(self, workers: int) -> None:
        """Start workers."""
        for _ in range(workers):
            task = replace(self._task, clock_error_s=next(self._clock_errors))
            process = self._context.Process(target=work, args=(task,))
            process.start()
            self._alive.append(process)

    @property
    def size(self) -> int:
        """Number of workers that have not ended."""
        self._look_after()
        return len(self._alive)

    @property
    def frozen(self) -> list[int]:
        """Process ids of those that are stopped for now."""
        return [_pid(each) for each in self._frozen]

    def kill(self) -> None:
        """Kill a random worker."""
        self._look_after()
        if self._alive:
            victim = self._random.choice(self._alive)
            self._hit(victim, signal.SIGKILL)
            victim.join()
            self._alive.remove(victim)

    def freeze(self, workers: int) -> None:
        """Stop random workers for now."""
        self._look_after()
        for victim in self._random.sample(self._alive, min(workers, len(self._alive))):
            self._frozen.append(victim)
            self._hit(victim, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the workers that were stopped go on."""
        for process in self._frozen:
            os.kill(_pid(process), signal.SIGCONT)
        self._frozen = []

    def dismiss(self) -> None:
        """Kill all that are left."""
        for process in self._alive:
            process.kill()
            process.join()
        self._alive = []

    def wait(self, timeout_s: float) -> None:
        """Wait until all have ended; after so many seconds that is a mishap."""
        deadline = time.monotonic() + timeout_s
        while self.size and time.monotonic() < deadline:
            time.sleep(0.1)
        if self._alive:
            self.mishaps.append(f"{len(self._alive)} workers had not ended after {timeout_s:g} s")
            self.dismiss()

    def _hit(self, victim: ForkServerProcess, blow: signal.Signals) -> None:
        pid = _pid(victim)
        self.hits.append(Hit(pid, time.time()))
        os.kill(pid, blow)

    def _look_after(self) -> None:
        for process in [each for each in self._alive if each.exitcode is not None]:
            self._alive.remove(process)
            if process.exitcode == 0:
                self.finished += 1
            else:
                self.mishaps.append(
                    f"worker {process.pid} ended with {process.exitcode}: {self._said(process)}"
                )

    def _said(self, process: ForkServerProcess) -> str:
        lines = (self._task.folder / f"{process.pid}.txt").read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "nothing was said")


def _pid(process: ForkServerProcess) -> int:
    assert process.pid is not None  # it was started
    return process.pid


def every(seconds: float) -> Iterator[None]:
    """Yield once in so many seconds, without end."""
    due = time.monotonic() + seconds
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        yield
        due += seconds
