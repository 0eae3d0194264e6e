"""Figures of a worker for Prometheus."""

import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lrsearch.errors import InputError
from lrsearch.schedules import Hyperparameters
from lrsearch.service.metrics import MetricsFile
from lrsearch.service.progress import Progress, RunningTrial
from lrsearch.storage.counters import EPOCHS, RENEWALS, RETRIES

ENDED = {"COMPLETE": 3, "PRUNED": 2, "diverged": 1, "FAIL": 1}
LANES = (RunningTrial(7, Hyperparameters(0.5, "constant", {})),)


def progress(study="first"):
    """Return where a study of ten trials stands."""
    return Progress(10, 5, ENDED, running=LANES, study=study, worker="node-1")


def figures(path):
    """Return the samples of a file by name, study, and state or worker, as Prometheus reads them."""
    samples = [each for family in text_string_to_metric_families(path.read_text()) for each in family.samples]
    return {
        (each.name, each.labels["study"], each.labels.get("state", each.labels["worker"])): each.value
        for each in samples
    }


@pytest.fixture
def path(tmp_path):
    """Of a file that does not exist."""
    return tmp_path / "worker.prom"


def test_trials_by_state(path):
    """Of the study, and how many it may run; those that run are the worker's."""
    with MetricsFile(path) as metrics:
        metrics.show(progress())
    found = figures(path)
    trials = {key[-1]: value for key, value in found.items() if key[0] == "lrsearch_trials"}
    assert trials == {"complete": 3, "pruned": 1, "diverged": 1, "fail": 1, "running": 1}
    assert found["lrsearch_trials_budget", "first", "node-1"] == 10


def test_what_the_process_counts_belongs_to_the_study_it_trains(path):
    """A worker that changes studies counts on for the next one."""
    EPOCHS.add(100)  # before
    with MetricsFile(path) as metrics:
        metrics.show(progress())
        EPOCHS.add(5)
        RENEWALS.add(2)
        metrics.show(progress("second"))
        EPOCHS.add(7)
        RETRIES.add(3)
    found = figures(path)
    names = ("lrsearch_epochs_total", "lrsearch_lease_renewals_total", "lrsearch_storage_retries_total")
    assert [found[name, "first", "node-1"] for name in names] == [5, 2, 0]
    assert [found[name, "second", "node-1"] for name in names] == [7, 0, 3]


def test_epochs_per_second(path):
    """Since the last write, for the study that is trained now."""
    with MetricsFile(path) as metrics:
        metrics.show(progress("other"))
        metrics.show(progress())
        begun = time.monotonic()
        EPOCHS.add(30)
        time.sleep(0.3)
    elapsed_s = time.monotonic() - begun
    found = figures(path)
    assert 30 / elapsed_s * 0.7 <= found["lrsearch_epochs_per_second", "first", "node-1"] <= 30 / 0.3 * 1.1
    assert found["lrsearch_epochs_per_second", "other", "node-1"] == 0


def test_the_file_is_written_while_the_worker_trains(path):
    """Again and again, and whole at any time: nothing else is left in its folder."""
    with MetricsFile(path, interval_s=0.05) as metrics:
        assert path.exists()
        metrics.show(progress())
        deadline = time.monotonic() + 10
        while not figures(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert figures(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_fails_later_ends_no_training(path):
    """The figures are left out."""
    folder = path.parent / "folder"
    folder.mkdir()
    with MetricsFile(folder / "worker.prom", interval_s=0.05):
        (folder / "worker.prom").unlink()
        folder.rmdir()
        time.sleep(0.2)
    assert not folder.exists()


def test_a_path_that_cannot_be_written_is_refused(path):
    """At once, and with the reason."""
    with pytest.raises(InputError, match="No such file or directory"), MetricsFile(path / "none" / "x.prom"):
        pass


def test_the_package_may_be_missing(path, monkeypatch):
    """It is an extra, whose name is told."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(InputError, match=r"pip install 'lrsearch\[metrics\]'"):
        MetricsFile(path)
