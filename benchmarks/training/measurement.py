"""Measures the contestants of a net in turns, and keeps what they made."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any, Self

import torch

from benchmarks.training.contestants import MOST_LANES, Contestant
from benchmarks.training.crew import Crew, cores
from benchmarks.training.floor import Floor
from benchmarks.training.mnist import STEPS_PER_EPOCH

MOMENTUM = 0.9
GENERIC_LANES = (16, 32)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        nets: names of tasks.
        lanes: of the fused trainer.
        device: which trains.
        data_dir: folder of the data sets.
        rounds: turns of each contestant.
        seconds: of a turn, at least.
        processor_time: whether all have one thread, and are timed by the processor time that it had: for a
            machine that others use too, where several threads of a process wait for each other.
    """

    nets: tuple[str, ...]
    lanes: tuple[int, ...]
    device: torch.device
    data_dir: Path
    rounds: int
    seconds: float
    processor_time: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU trains, with a single process."""
        return self.device.type == "cuda"


@dataclass
class Figure:
    """What a contestant made.

    Args:
        contestant: who.
        processes: that it ran in.
        rates: trial-steps per second in each round, of all processes together.
        steps: trial-steps timed.
        shares: in each round, the part of a core that each of its processes had, on average.
    """

    contestant: Contestant
    processes: int
    rates: list[float] = field(default_factory=list)
    steps: int = 0
    shares: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Trial-steps per second of all processes together: the median of the rounds."""
        return median(self.rates)

    @property
    def step_ms(self) -> float:
        """Milliseconds per trial-step of one of the processes."""
        return 1e3 * self.processes / self.rate

    @property
    def trial_epochs_per_second(self) -> float:
        """Epochs of 1,562 steps per second, without validation."""
        return self.rate / STEPS_PER_EPOCH


@dataclass
class NetResult:
    """What was measured of a net.

    Args:
        net: name of the task.
        chosen: what a worker does of its own accord.
        floor: what a trial-step needs at least.
        figures: of all contestants.
        product_rates: operations per second of large products in each round, of all cores together.
    """

    net: str
    chosen: Contestant
    floor: Floor
    figures: list[Figure]
    product_rates: list[float] = field(default_factory=list)

    def of(self, contestant: Contestant) -> Figure | None:
        """Return a contestant's figure; None if it was not measured."""
        return next((figure for figure in self.figures if figure.contestant == contestant), None)

    @property
    def processes(self) -> int:
        """Processes that train at once where each core has one."""
        return max(figure.processes for figure in self.figures)

    @property
    def share(self) -> float:
        """The part of a core that single-threaded processes had on average: below 1 where others work too."""
        alone = (figure.shares for figure in self.figures if figure.contestant.threads == 1)
        return mean(share for shares in alone for share in shares)

    @property
    def floor_ms(self) -> float:
        """Milliseconds per trial-step of one of the processes, were there only the products."""
        return 1e3 * self.floor.operations * self.processes / median(self.product_rates)

    @property
    def memory_floor_ms(self) -> float | None:
        """Milliseconds per trial-step, were there only the parameters' traffic; None on a CPU."""
        rate = self.floor.bytes_per_second
        return None if rate is None else 1e3 * self.floor.traffic_bytes / rate

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return what ``to_json`` gave."""
        figures = [
            Figure(**{**each, "contestant": Contestant(**each["contestant"])}) for each in stored["figures"]
        ]
        chosen, floor = Contestant(**stored["chosen"]), Floor(**stored["floor"])
        return cls(stored["net"], chosen, floor, figures, stored["product_rates"])


def measure(plan: Plan, net: str) -> NetResult:
    """Return the figures of all contestants of a net."""
    processes = 1 if plan.on_gpu else cores()
    with Crew(net, plan.data_dir, plan.device, processes) as crew:
        chosen = crew.chosen()
        figures = [
            Figure(contestant, processes if contestant.every_core else 1)
            for contestant in dict.fromkeys(contestants(plan, net, chosen))
        ]
        result = NetResult(net, chosen, crew.floor(), figures)
        for figure in figures:
            crew.prepare(figure.contestant)
        for number in range(plan.rounds):
            print(f"{net}: round {number + 1} of {plan.rounds}", file=sys.stderr)
            _add_round(plan, crew, result)
    return result


def _add_round(plan: Plan, crew: Crew, result: NetResult) -> None:
    for figure in result.figures:
        timings = crew.round(figure.contestant, plan.seconds)
        figure.rates.append(
            sum(each.steps / (each.processor_s if plan.processor_time else each.seconds) for each in timings)
        )
        figure.steps += sum(each.steps for each in timings)
        figure.shares.append(mean(each.processor_s / each.seconds for each in timings))
    result.product_rates.append(sum(crew.product_rates(plan.seconds, processor_time=plan.processor_time)))


def contestants(plan: Plan, net: str, chosen: Contestant) -> Iterator[Contestant]:
    """Yield who is compared; some may come twice."""
    threads = 1 if plan.on_gpu or plan.processor_time else cores()
    yield Contestant("tutorial", threads=threads)
    yield Contestant("ordinary", threads=threads)
    if not plan.on_gpu:
        yield Contestant("ordinary")
    yield from _in_all_processes(plan, net, chosen)
    if not plan.on_gpu:
        yield from (replace(each, every_core=False) for each in _lockstep(plan, net, chosen))


def _in_all_processes(plan: Plan, net: str, chosen: Contestant) -> Iterator[Contestant]:
    """Yield what runs in one process per core, or in the only one of a GPU."""
    ordinary = baseline(on_gpu=plan.on_gpu)
    yield ordinary
    yield replace(ordinary, momentum=MOMENTUM)
    yield replace(ordinary, way="eager")
    lockstep = _lockstep(plan, net, chosen)
    yield from lockstep
    yield replace(chosen, momentum=MOMENTUM)
    yield from (replace(each, mixed=True) for each in lockstep if each.lanes > 1)
    if net == "mnist-mlp":
        yield from (replace(ordinary, way="generic", lanes=lanes) for lanes in _generic_lanes(plan))


def baseline(*, on_gpu: bool) -> Contestant:
    """Return ordinary PyTorch in one process per core, or in the only one of a GPU."""
    return Contestant("ordinary", every_core=not on_gpu)


def _lockstep(plan: Plan, net: str, chosen: Contestant) -> list[Contestant]:
    fused = replace(chosen, way="fused")
    asked = {lanes for lanes in plan.lanes if lanes <= MOST_LANES[net]}
    return [replace(fused, lanes=lanes) for lanes in sorted({*asked, chosen.lanes})]


def _generic_lanes(plan: Plan) -> Sequence[int]:
    return [lanes for lanes in GENERIC_LANES if lanes <= max(plan.lanes)] or plan.lanes[-1:]
