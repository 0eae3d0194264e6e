"""What was timed, where it is kept, and the table of it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

CONTESTANTS = ("optuna-documented", "optuna-resident", "ray-tune", "lrsearch")
NAMES = {
    "optuna-documented": "optuna as documented (replayed)",
    "optuna-resident": "optuna resident",
    "ray-tune": "ray tune",
    "lrsearch": "lrsearch",
}
GOALS = {"optuna-documented": 100.0, "optuna-resident": 4.0, "ray-tune": 4.0}


@dataclass(frozen=True)
class Run:
    """A search that was timed.

    Args:
        contestant: who searched.
        seed: of the search.
        study: that it searched.
        target: validation loss to reach.
        cap_s: after which it was given up.
        reached: whether the loss was reached.
        seconds: until then; the cap if it was not.
        epochs: trained by then.
        best: lowest validation loss by then.
        epoch_s: what each epoch was charged, in seconds; None where it was timed.
    """

    contestant: str
    seed: int
    study: str
    target: float
    cap_s: float
    reached: bool
    seconds: float
    epochs: int
    best: float
    epoch_s: float | None = None


class RunFile:
    """Runs in a JSON file, to which later commands add.

    Args:
        path: of the file; None keeps them in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.runs: list[Run] = []
        if path is not None and path.exists():
            self.runs = [Run(**run) for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]

    def add(self, run: Run) -> None:
        """Keep a run, in the place of an earlier one of the same contestant, seed and study."""
        key = (run.contestant, run.seed, run.study)
        self.runs = [each for each in self.runs if (each.contestant, each.seed, each.study) != key] + [run]
        if self._path is not None:
            content = json.dumps({"runs": [asdict(each) for each in self.runs]}, indent=1)
            self._path.write_text(content + "\n", encoding="utf-8")


def table(runs: Sequence[Run]) -> str:
    """Return the table of runs of one study."""
    targets = sorted({run.target for run in runs})
    lines = [
        f"Validation loss to reach: {', '.join(f'{target:.5f}' for target in targets)}.",
        "",
        "| | seeds | median seconds | seconds by seed | reached | median epochs | over lrsearch |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: |",
        *(_row(name, runs) for name in CONTESTANTS if _of(name, runs)),
    ]
    charges = [run.epoch_s for run in runs if run.epoch_s is not None]
    if charges:
        lines += ["", f"An epoch of the tutorial's loop was charged {median(charges):.2f} s."]
    return "\n".join([*lines, "", *_goal_lines(runs)]) + "\n"


def _row(name: str, runs: Sequence[Run]) -> str:
    own = _of(name, runs)
    seconds = ", ".join(f"{run.seconds:.1f}" if run.reached else f"over {run.cap_s:g}" for run in own)
    ratio = _times(name, runs)
    return (
        f"| {NAMES[name]} | {len(own)} | {_seconds(own):.1f} | {seconds} | "
        f"{sum(run.reached for run in own)} of {len(own)} | "
        f"{median(run.epochs for run in own):g} | {'' if ratio is None else f'{ratio:.1f}'} |"
    )


def _goal_lines(runs: Sequence[Run]) -> Iterator[str]:
    measured = {name: ratio for name in GOALS if (ratio := _times(name, runs)) is not None}
    if not measured:
        return
    yield "| goal | at least | measured | |"
    yield "| --- | ---: | ---: | --- |"
    for name, ratio in measured.items():
        met = "met" if ratio >= GOALS[name] else "missed"
        yield f"| times faster than {NAMES[name]} | {GOALS[name]:g} | {ratio:.1f} | {met} |"


def _times(name: str, runs: Sequence[Run]) -> float | None:
    """Return how often lrsearch's time a contestant took, by the medians; None if either was not timed."""
    own, lrsearch = _of(name, runs), _of("lrsearch", runs)
    return _seconds(own) / _seconds(lrsearch) if own and lrsearch else None


def _of(name: str, runs: Iterable[Run]) -> list[Run]:
    return sorted((run for run in runs if run.contestant == name), key=lambda run: run.seed)


def _seconds(runs: Iterable[Run]) -> float:
    return median(run.seconds for run in runs)
