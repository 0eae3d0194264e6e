"""Where a study stands that several workers of one run train together."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from lrsearch.results import Outcome
from lrsearch.service.progress import EndedTrial, Progress, StopReason


class JointProgress:
    """Joins what each worker knows: all their lanes, and all their news, none of them lost or repeated.

    Safe among threads.

    Args:
        first: of the first worker, before any other has begun.
    """

    def __init__(self, first: Progress) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic() - first.elapsed_s
        self._first = first
        self._latest: dict[int, Progress] = {}  # by worker
        self._ended = Counter(first.ended)
        self._ended.subtract(_counts(first.news))
        self._before = _total(self._ended)
        self._known: set[int] = set()
        self._news: list[EndedTrial] = []
        self._notes: list[str] = []
        self._told: set[str] = set()  # several workers notice the same
        self.add(0, first)

    def add(self, worker: int, progress: Progress) -> None:
        """Take what a worker says.

        Args:
            worker: its index; 0 is the first one.
            progress: newer than all it said before.
        """
        with self._lock:
            self._latest[worker] = progress
            self._notes += [note for note in progress.notes if note not in self._told]
            self._told.update(progress.notes)
            for trial in progress.news:
                if trial.number not in self._known:
                    self._known.add(trial.number)
                    self._news.append(trial)
                    self._ended.update(_counts([trial]))

    def leave(self, worker: int, note: str | None = None) -> None:
        """Say that a worker has ended: it has no lanes any more.

        Args:
            worker: its index.
            note: what the user should know of it, or None.
        """
        with self._lock:
            if worker in self._latest:
                self._latest[worker] = replace(self._latest[worker], running=(), waiting=True)
            if note is not None:
                self._notes.append(note)

    def is_idle(self, worker: int) -> bool:
        """Return whether a worker has never had a trial, or waits for those of others."""
        with self._lock:
            return worker not in self._latest or self._latest[worker].waiting

    @property
    def has_news(self) -> bool:
        """Whether there are news or notes that have not been taken."""
        with self._lock:
            return bool(self._news or self._notes)

    def take(self, stopped: StopReason | None = None) -> Progress:
        """Return where the study stands, with the news since the last call.

        Args:
            stopped: why the run ended, for its last value.
        """
        with self._lock:
            news, self._news = tuple(self._news), []
            notes, self._notes = tuple(self._notes), []
            latest = sorted(self._latest.values(), key=lambda each: each.ended_trials, reverse=True)
            lanes = {lane.number: lane for each in latest for lane in each.running}
            # Trials of other runs are known from what a worker read, those of this run from their news.
            ended: Mapping[str, int] = {**+self._ended, "diverged": self._ended["diverged"]}
            ended = max((ended, latest[0].ended), key=_total)
            trials = max(each.trials for each in latest)
            progress = replace(
                latest[0],
                trials=trials,
                ended=ended,
                running=tuple(lanes[number] for number in sorted(lanes) if number not in self._known),
                best=min((each.best for each in latest if each.best), key=_rank, default=None),
                last_failure=next((each.last_failure for each in latest if each.last_failure), None),
                news=news,
                notes=notes,
                elapsed_s=time.monotonic() - self._started,
                waiting=not news and all(each.waiting for each in latest) and _total(ended) < trials,
                stopped=stopped,
                worker=self._first.worker,
            )
        return replace(progress, remaining_s=self._remaining_s(progress))

    def _remaining_s(self, progress: Progress) -> float | None:
        partly = sum(lane.epoch for lane in progress.running) / progress.epochs
        done = _total(progress.ended) - self._before + partly
        left = progress.trials - self._before - done
        return progress.elapsed_s * left / done if done > 0 else None


def _counts(trials: Iterable[EndedTrial]) -> Counter[str]:
    """Return the number of trials by outcome, and ``diverged`` among the pruned ones."""
    results = [trial.result for trial in trials]
    counts = Counter(result.outcome.value for result in results)
    return counts + Counter(diverged=sum(result.diverged for result in results))


def _total(ended: Mapping[str, int]) -> int:
    return sum(ended.get(outcome.value, 0) for outcome in Outcome)


def _rank(trial: EndedTrial) -> tuple[float, int]:
    value = trial.result.value
    return (math.inf if value is None else value, trial.number)
