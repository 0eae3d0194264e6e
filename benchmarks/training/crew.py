"""The processes of one net: they hold the same contestants, and are told who trains next, and how long."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from benchmarks.training.contestants import Contestant, Training
from benchmarks.training.floor import Floor, floor_of, product_rate

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Timing:
    """What one process made in one round.

    Args:
        steps: trial-steps.
        seconds: they took.
        processor_s: seconds of processor time that the process had meanwhile.
    """

    steps: int
    seconds: float
    processor_s: float


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """One spawned process per core, or a single one for a GPU.

    Args:
        net: name of the task.
        data_dir: folder of the data sets.
        device: which trains.
        processes: at least 1.
    """

    def __init__(self, net: str, data_dir: Path, device: torch.device, processes: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._barrier = spawn.Barrier(processes)  # lives until the processes have opened it
        self._members = []
        for number in range(processes):
            ours, theirs = spawn.Pipe()
            arguments = (theirs, self._barrier, net, data_dir, device)
            member = spawn.Process(target=_serve, args=arguments, daemon=True, name=f"training-{number}")
            member.start()
            theirs.close()
            self._members.append((member, ours))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member, pipe in self._members:
            pipe.close()
            member.join(1)
            member.kill()

    def prepare(self, contestant: Contestant) -> None:
        """Make a contestant in the processes that it needs, and let it train for a moment."""
        self._ask("prepare", contestant, everyone=contestant.every_core)

    def round(self, contestant: Contestant, seconds: float) -> list[Timing]:
        """Let a contestant train for at least so many seconds, in all its processes at once."""
        return self._ask("train", contestant, seconds, everyone=contestant.every_core)

    def product_rates(self, seconds: float, *, processor_time: bool) -> list[float]:
        """Return the rate of large products in all processes at once, in operations per second."""
        return self._ask("multiply", seconds, processor_time, everyone=True)

    def floor(self) -> Floor:
        """Return what a trial-step needs at least."""
        floors: list[Floor] = self._ask("floor", everyone=False)
        return floors[0]

    def chosen(self) -> Contestant:
        """Return what a worker does of its own accord."""
        chosen: list[Contestant] = self._ask("choose", everyone=False)
        return chosen[0]

    def _ask(self, *request: Any, everyone: bool) -> list[Any]:
        members = self._members if everyone else self._members[:1]
        for _member, pipe in members:
            pipe.send((everyone, request))
        answers = []
        for member, pipe in members:
            if not pipe.poll(TIMEOUT_S):
                raise RuntimeError(f"{member.name} did not answer to {request} within {TIMEOUT_S:g} s")
            answers.append(pipe.recv())
        for failure in (answer for answer in answers if isinstance(answer, Exception)):
            raise RuntimeError(f"{request} failed: {failure}") from failure
        return answers


def _serve(pipe: Connection, barrier: Any, net: str, data_dir: Path, device: torch.device) -> None:
    """Do what the pipe asks for until it is closed."""
    member = _Member(Training(net, data_dir, device))
    while True:
        try:
            together, (name, *arguments) = pipe.recv()
        except EOFError:
            return
        try:
            answer = getattr(member, name)(*arguments, barrier.wait if together else _at_once)
        except Exception as error:  # told to the process that asked
            answer = RuntimeError(f"{type(error).__name__}: {error}")
            if together:
                barrier.abort()  # nobody waits for this process
        pipe.send(answer)


def _at_once() -> None:
    """Wait for nobody."""


Wait = Callable[[], object]


class _Member:
    """Answers in one process; its methods are what a crew asks for."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._steps: dict[Contestant, Callable[[], int]] = {}

    def prepare(self, contestant: Contestant, wait: Wait) -> None:
        torch.set_num_threads(contestant.threads)
        self._steps[contestant] = self._training.steps(contestant)
        self._steps[contestant]()
        wait()

    def train(self, contestant: Contestant, seconds: float, wait: Wait) -> Timing:
        torch.set_num_threads(contestant.threads)
        steps = self._steps[contestant]
        wait()
        made, begun, processor_begun = 0, time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - begun) < seconds:
            made += steps()
        return Timing(made, elapsed, time.process_time() - processor_begun)

    def multiply(self, seconds: float, processor_time: bool, wait: Wait) -> float:
        torch.set_num_threads(1)
        return product_rate(self._training.data.device, seconds, wait, processor_time=processor_time)

    def floor(self, wait: Wait) -> Floor:
        wait()
        return floor_of(self._training)

    def choose(self, wait: Wait) -> Contestant:
        wait()
        torch.set_num_threads(1)
        return self._training.chosen()
