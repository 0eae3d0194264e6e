"""Figures of a worker for Prometheus, in a file that its node exporter collects: no port is opened."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lrsearch.errors import InputError
from lrsearch.service.progress import Progress
from lrsearch.storage.counters import EPOCHS, RENEWALS, RETRIES

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

INTERVAL_S = 15.0
LABELS = ("study", "worker")
COUNTED = {
    "lrsearch_epochs": ("Epochs of trials that this worker has trained.", EPOCHS),
    "lrsearch_lease_renewals": ("Leases that this worker has renewed by the clock.", RENEWALS),
    "lrsearch_storage_retries": ("Calls of the database that this worker has repeated.", RETRIES),
}

Key = tuple[str, str]  # study and worker


class MetricsFile:
    """A text file with a worker's figures, written anew every 15 seconds, and at the end.

    As a context it is written at once, so that a path that cannot be written is known before training. Later,
    a write that fails is left out: figures are worth no training. What the process counts is put down to the
    study that it has shown last.

    Args:
        path: of the file; the node exporter reads those that end in ``.prom``.
        interval_s: seconds between two writes.

    Raises:
        InputError: if prometheus_client is not installed.
    """

    def __init__(self, path: Path, interval_s: float = INTERVAL_S) -> None:
        self._path, self._interval_s = path, interval_s
        try:
            self._registry = import_module("prometheus_client").CollectorRegistry(auto_describe=False)
        except ImportError:
            raise InputError(
                "a metrics file needs the package prometheus-client, which is not installed. "
                "Install it: pip install 'lrsearch[metrics]'"
            ) from None
        self._registry.register(self)
        self._lock = threading.Lock()
        self._latest: dict[Key, Progress] = {}
        self._key: Key | None = None  # of the study that was shown last
        self._counts: dict[str, Counter[Key]] = {name: Counter() for name in COUNTED}
        self._seen = {name: counter.value for name, (_help, counter) in COUNTED.items()}
        self._rate = (
            time.monotonic(),
            EPOCHS.value,
            0.0,
        )  # when, how many epochs, epochs per second until then
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="lrsearch-metrics", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._write()
        except OSError as error:
            raise InputError(
                f"a metrics file must lie in a folder that can be written, but {self._path} cannot be: "
                f"{error.strerror}"
            ) from None
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write_if_possible()

    def show(self, progress: Progress) -> None:
        """Take where a study stands; cheap, so that it may be called after every epoch."""
        key = (progress.study, progress.worker)
        with self._lock:
            if key != self._key:
                self._settle()
            self._key = key
            self._latest[key] = progress

    def collect(self) -> Iterator["Metric"]:
        """Yield all figures, as prometheus_client asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            self._settle()
            latest, (_when, _epochs, per_s) = dict(self._latest), self._rate
            counts = {name: dict(each) for name, each in self._counts.items()}
        trials = GaugeMetricFamily("lrsearch_trials", "Trials by state.", labels=(*LABELS, "state"))
        budget = GaugeMetricFamily("lrsearch_trials_budget", "Trials that the study may run.", labels=LABELS)
        rate = GaugeMetricFamily("lrsearch_epochs_per_second", "Epochs, since the last write.", labels=LABELS)
        for key, progress in latest.items():
            for state, count in _states(progress).items():
                trials.add_metric((*key, state), count)
            budget.add_metric(key, progress.trials)
            rate.add_metric(key, per_s if key == self._key else 0.0)
        yield from (trials, budget, rate)
        for name, (words, _counter) in COUNTED.items():
            family = CounterMetricFamily(name, words, labels=LABELS)
            for key in latest:
                family.add_metric(key, counts[name].get(key, 0))
            yield family

    def _settle(self) -> None:
        """Put down what was counted since the last call to the study that was shown last."""
        if self._key is None:
            return
        for name, (_help, counter) in COUNTED.items():
            value = counter.value
            self._counts[name][self._key] += value - self._seen[name]
            self._seen[name] = value

    def _keep_writing(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._write_if_possible()

    def _write_if_possible(self) -> None:
        with suppress(OSError):
            self._write()

    def _write(self) -> None:
        from prometheus_client import write_to_textfile

        self._measure_rate()
        write_to_textfile(str(self._path), self._registry)

    def _measure_rate(self) -> None:
        now, epochs = time.monotonic(), EPOCHS.value
        with self._lock:
            when, before, _per_s = self._rate
            self._rate = (now, epochs, (epochs - before) / max(now - when, 1e-3))


def _states(progress: Progress) -> dict[str, int]:
    """Return the number of trials by state; those that run are this worker's."""
    ended = dict.fromkeys(("complete", "pruned", "diverged", "fail"), 0) | progress.counts
    return {**ended, "running": len(progress.running)}
