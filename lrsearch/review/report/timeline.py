"""The figure of who trained what when: trials as bars, a row for each worker."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch.review.report.colors import OUTCOMES
from lrsearch.review.report.figure import Absent, Axis, Bars, Figure, Mark
from lrsearch.review.report.progress import time_unit
from lrsearch.review.report.trials import ShownStudy, ShownTrial
from lrsearch.storage.workers import WorkerRecord

TITLE = "Who trained what, and when"
SHORTEST_S = 0.5  # of a bar: times are stored in whole seconds
ROW = 0.84  # part of a row's height that its bars fill
MOST_WORKERS = 40
UNKNOWN = "not known"


@dataclass(frozen=True)
class _Bar:
    """A trial on the clock of its study, in seconds, and its place among those that ran beside it."""

    trial: ShownTrial
    begin: float
    end: float
    lane: int


def timeline(study: ShownStudy) -> list[Figure | Absent]:
    """Return the trials of each worker over the time of training."""
    timed = [trial for trial in study.trials if trial.record.started_at and trial.record.finished_at]
    if not timed:
        return [Absent("timeline", TITLE, "No trial has ended yet.")]
    names = _worker_names(study.facts.workers)
    rows: dict[str, list[ShownTrial]] = {}
    for worker in [*names, UNKNOWN]:
        mine = [t for t in timed if study.facts.worker_of.get(t.number, UNKNOWN) == worker]
        if mine:
            rows[names.get(worker, UNKNOWN)] = mine
    shown = dict(list(rows.items())[:MOST_WORKERS])
    length, unit = time_unit(study.clock.total_s)
    bars = {row: _bars(study, trials) for row, trials in enumerate(shown.values())}
    lanes = {row: max(bar.lane for bar in mine) + 1 for row, mine in bars.items()}
    marks: list[Mark] = [
        mark for outcome in OUTCOMES for mark in _marks(outcome, bars, lanes, length) if mark.places
    ]
    y = Axis("", span=(len(shown) - 0.45, -0.55), names=tuple(shown))
    end = max(study.clock.total_s, SHORTEST_S) / length
    x = Axis(f"{unit} of training (pauses left out)", span=(0.0, end * 1.01))
    note = (
        "Trials that a worker trained at once lie side by side in its row. Times are stored in whole seconds."
    )
    if len(rows) > MOST_WORKERS:
        note += f" Of {len(rows)} workers the first {MOST_WORKERS} are drawn."
    height = 110 + sum(min(max(34, 5 * count), 120) for count in lanes.values())
    return [Figure("timeline", TITLE, x, y, tuple(marks), note, height=height)]


def _worker_names(workers: Sequence[WorkerRecord]) -> dict[str, str]:
    """Return what each worker is called, by its id: its device, and its machine where there are several."""
    several = len({worker.host for worker in workers}) > 1
    return {
        worker.id: f"worker {place}, {worker.device}" + (f" on {worker.host}" if several else "")
        for place, worker in enumerate(workers, 1)
    }


def _bars(study: ShownStudy, trials: Sequence[ShownTrial]) -> list[_Bar]:
    """Return a worker's trials, each in the first lane that is free when it begins."""
    free: list[float] = []
    bars = []
    for trial in sorted(trials, key=lambda trial: (trial.record.started_at or "", trial.number)):
        begin, end = study.clock.at(trial.record.started_at), study.clock.at(trial.record.finished_at)
        end = max(end, begin + SHORTEST_S)
        lane = next((place for place, until in enumerate(free) if until <= begin), len(free))
        free[lane : lane + 1] = [end]
        bars.append(_Bar(trial, begin, end, lane))
    return bars


def _marks(outcome: str, bars: dict[int, list[_Bar]], lanes: dict[int, int], length: float) -> list[Bars]:
    mine = [(row, bar) for row, row_bars in bars.items() for bar in row_bars if bar.trial.outcome == outcome]
    heights = tuple(ROW / lanes[row] for row, _bar in mine)
    return [
        Bars(
            label=f"{outcome} ({len(mine)})",
            places=tuple(row - ROW / 2 + ROW * (bar.lane + 0.5) / lanes[row] for row, bar in mine),
            starts=tuple(bar.begin / length for _row, bar in mine),
            lengths=tuple((bar.end - bar.begin) / length for _row, bar in mine),
            color=OUTCOMES[outcome],
            thickness=tuple(0.86 * height for height in heights),
            texts=tuple(bar.trial.text for _row, bar in mine),
        )
    ]
