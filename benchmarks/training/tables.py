"""Tables and goals of what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.training.contestants import Contestant
from benchmarks.training.end_to_end import EndToEnd
from benchmarks.training.measurement import Figure, NetResult, baseline
from benchmarks.training.trainings import Trainings

NAMES = {
    "tutorial": "tutorial's loop",
    "ordinary": "PyTorch on resident tensors",
    "eager": "eager trainer",
    "fused": "fused",
    "generic": "fused, generic path",
}
TUTORIAL_GOAL, GENERIC_GOAL, MIXED_GOAL, END_TO_END_GOAL = 170.0, 2.0, 3.2, 0.9
LOCKSTEP_GOALS = {"mnist-mlp": 4.3, "mnist-mlp-wide": 1.9, "mnist-cnn": 1.0}
QUIET_SHARE = 0.95
GPU_GOAL, LANES_GOAL, TRAININGS_GOAL_S = 100.0, 2.0, 30.0


@dataclass(frozen=True)
class Goal:
    """A figure that was aimed at.

    Args:
        words: what it is.
        aim: the goal.
        measured: the figure.
        at_least: whether more is better.
    """

    words: str
    aim: float
    measured: float
    at_least: bool = True

    def row(self) -> str:
        """Return a line of the table."""
        met = self.measured >= self.aim if self.at_least else self.measured <= self.aim
        rule = "at least" if self.at_least else "at most"
        return f"| {self.words} | {rule} {self.aim:g} | {self.measured:.3g} | {'met' if met else 'missed'} |"


NET_HEAD = """\
| | lanes | epochs | P x T | ms per trial-step | trial-epochs/s | over tutorial | over PyTorch | steps timed |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""
SEARCH_HEAD = """\
| study | trials | trial-epochs | workers x lanes | seconds | seconds after start-up | trial-epochs/s | \
after start-up | bare arrays | after start-up over bare |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def net_table(result: NetResult) -> str:
    """Return the table of a net."""
    rows = "\n".join(_row(figure, result) for figure in result.figures)
    return f"## {result.net}\n\n{NET_HEAD}\n{rows}\n\n{_floor_words(result)}\n"


def _floor_words(result: NetResult) -> str:
    lanes = "one trial at a time" if result.chosen.way == "eager" else f"{result.chosen.lanes} lanes"
    millions = result.floor.operations / 1e6
    return (
        f"Floor: {result.floor_ms:.4f} ms of arithmetic per trial-step ({millions:.2f} million operations at "
        f"{millions / result.floor_ms:.0f} GFLOP/s in each process){_memory_floor(result)}. "
        f"Of its own accord a worker trains {lanes}.{_share(result)}"
    )


def _share(result: NetResult) -> str:
    if result.share > QUIET_SHARE or not result.chosen.every_core:
        return ""
    return f" **The machine was not quiet:** each process had {result.share:.0%} of a core."


def _memory_floor(result: NetResult) -> str:
    if result.memory_floor_ms is None or result.floor.bytes_per_second is None:
        return ""
    return (
        f", {result.memory_floor_ms:.5f} ms to read every parameter twice and write it once "
        f"(at {result.floor.bytes_per_second / 1e12:.2f} TB/s)"
    )


def _row(figure: Figure, result: NetResult) -> str:
    contestant = figure.contestant
    momentum = f", momentum {contestant.momentum:g}" if contestant.momentum else ""
    fused = contestant.way in {"fused", "generic"}
    epochs = "mixed" if contestant.mixed else "lockstep" if fused and contestant.lanes > 1 else ""
    over = [_over(figure, _tutorial(result)), _over(figure, _ordinary(result, contestant.momentum))]
    return (
        f"| {NAMES[contestant.way]}{momentum} | {contestant.lanes if fused else ''} | {epochs} | "
        f"{figure.processes} x {contestant.threads} | {figure.step_ms:.4f} | "
        f"{figure.trial_epochs_per_second:.2f} | {over[0]} | {over[1]} | {figure.steps:,} |"
    )


def _over(figure: Figure, other: Figure | None) -> str:
    return "" if other is None else f"{figure.rate / other.rate:.2f}"


def _tutorial(result: NetResult) -> Figure | None:
    return next((each for each in result.figures if each.contestant.way == "tutorial"), None)


def _ordinary(result: NetResult, momentum: float = 0.0) -> Figure | None:
    on_gpu = not result.chosen.every_core
    return result.of(replace(baseline(on_gpu=on_gpu), momentum=momentum))


def goals(results: Sequence[NetResult]) -> Iterator[Goal]:
    """Yield the goals that the measured nets have."""
    for result in results:
        chosen, ordinary = result.of(result.chosen), _ordinary(result)
        if chosen is None or ordinary is None:
            continue
        if not result.chosen.every_core:
            yield from _gpu_goals(result, ordinary)
            continue
        ratio = chosen.rate / ordinary.rate
        yield Goal(f"{result.net}: over PyTorch, lockstep", LOCKSTEP_GOALS[result.net], ratio)
        if result.net == "mnist-mlp":
            yield from _small_net_goals(result, chosen, ordinary)


def _small_net_goals(result: NetResult, chosen: Figure, ordinary: Figure) -> Iterator[Goal]:
    tutorial, mixed = _tutorial(result), result.of(replace(result.chosen, mixed=True))
    generic = [each.rate for each in result.figures if each.contestant.way == "generic"]
    if tutorial is not None:
        yield Goal(f"{result.net}: over the tutorial's loop", TUTORIAL_GOAL, chosen.rate / tutorial.rate)
    if mixed is not None:
        yield Goal(f"{result.net}: over PyTorch, mixed epochs", MIXED_GOAL, mixed.rate / ordinary.rate)
    if generic:
        yield Goal(f"{result.net}: generic path over PyTorch", GENERIC_GOAL, max(generic) / ordinary.rate)


def _gpu_goals(result: NetResult, ordinary: Figure) -> Iterator[Goal]:
    if result.net != "mnist-mlp":
        return
    fused = [each for each in result.figures if each.contestant.way == "fused"]
    yield Goal(f"{result.net}: over PyTorch", GPU_GOAL, max(each.rate for each in fused) / ordinary.rate)
    one, many = (result.of(Contestant("fused", lanes=lanes)) for lanes in (1, 64))
    if one is not None and many is not None:
        times = many.step_ms * many.contestant.lanes / one.step_ms
        yield Goal(f"{result.net}: a step of 64 lanes over one of 1", LANES_GOAL, times, at_least=False)


def end_to_end_table(runs: Sequence[EndToEnd]) -> str:
    """Return the table of ``lrsearch optimize``."""
    rows = "\n".join(_search_row(run) for run in runs)
    return f"## lrsearch optimize\n\n{SEARCH_HEAD}\n{rows}\n"


def _search_row(run: EndToEnd) -> str:
    return (
        f"| {run.study} | {run.trials} | {run.trial_epochs} | {run.workers} x {run.lanes} | "
        f"{run.seconds:.1f} | {run.training_seconds:.1f} | {run.trial_epochs / run.seconds:.2f} | "
        f"{run.rate:.2f} | {run.bare_rate:.2f} | {run.rate / run.bare_rate:.1%} |"
    )


def goal_table(found: Sequence[Goal]) -> str:
    """Return the table of goals."""
    head = ["## Goals", "", "| what | goal | measured | |", "| --- | --- | ---: | --- |"]
    return "\n".join([*head, *(goal.row() for goal in found)]) + "\n"


def end_to_end_goals(runs: Sequence[EndToEnd], trainings: Trainings | None) -> Iterator[Goal]:
    """Yield the goals of whole runs."""
    if runs:
        parts = sorted(run.rate / run.bare_rate for run in runs)
        yield Goal("lrsearch optimize over the bare arrays", END_TO_END_GOAL, parts[len(parts) // 2])
    if trainings is not None:
        words = f"{trainings.trials:,} trainings of {trainings.epochs} epochs, in seconds"
        yield Goal(words, TRAININGS_GOAL_S, trainings.seconds, at_least=False)
