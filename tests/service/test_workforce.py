"""How many processes train a study: what the user says, else what device, cores and budget say."""

import sys

import pytest
import torch

from lrsearch.errors import SpecError
from lrsearch.service import workforce
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.studies import open_study, resolved
from lrsearch.service.workforce import number_of_workers, on_device_of
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.tasks.catalogue import load_task


@pytest.fixture
def database(created_sqlite_url):
    """Return an open SQLite database with tables."""
    with open_database(created_sqlite_url) as opened:
        yield opened


def make_spec(trials=100, **run):
    """Return a resolved specification of short trials."""
    content = {"name": "s", "task": "digits-mlp", "trials": trials, "epochs": 1, "sampler": "random"}
    return resolved(spec_from({**content, "run": {"device": "cpu", **run}}, "test"))


@pytest.mark.parametrize(
    ("trials", "cores", "workers"), [(3, 8, 1), (8, 8, 2), (100, 8, 8), (100, 1, 1), (20, 16, 5)]
)
def test_on_a_cpu_there_is_a_worker_for_each_core(database, monkeypatch, trials, cores, workers):
    """But none for fewer than four trials."""
    monkeypatch.setattr(workforce, "usable_cores", lambda: cores)
    assert number_of_workers(database, make_spec(trials)) == workers


def test_the_trials_that_are_left_count(database, monkeypatch):
    """Going on with a study needs fewer workers; what the user names holds, up to one per trial."""
    monkeypatch.setattr(workforce, "usable_cores", lambda: 8)
    spec = make_spec(trials=10)
    task = load_task(spec.task, None)
    data = load_onto_device(spec, task)
    list(prepare(database, spec, task, data, lambda: open_study(database, spec)).run())
    assert number_of_workers(database, make_spec(trials=18)) == 2
    assert number_of_workers(database, make_spec(trials=10)) == 1
    assert number_of_workers(database, make_spec(trials=10, workers=7)) == 1
    assert number_of_workers(database, make_spec(trials=14, workers=7)) == 4
    assert number_of_workers(database, make_spec(trials=18, workers=7)) == 7


def test_another_device_has_one_worker(database, monkeypatch):
    """It trains many lanes itself."""
    monkeypatch.setattr(workforce, "usable_cores", lambda: 8)
    monkeypatch.setattr("lrsearch.training.devices.resolve_device", torch.device)
    assert number_of_workers(database, make_spec(trials=100, device="cuda")) == 1
    assert number_of_workers(database, make_spec(trials=100, device="cuda", workers=3)) == 3


@pytest.mark.parametrize(("found", "workers"), [("cuda", 1), ("cpu", 8)])
def test_a_device_that_is_left_open_is_asked_for_where_there_may_be_one(
    database, monkeypatch, found, workers
):
    """Elsewhere a second is saved."""
    monkeypatch.setattr(workforce, "usable_cores", lambda: 8)
    monkeypatch.setattr("lrsearch.training.devices.resolve_device", lambda _name: torch.device(found))
    monkeypatch.setattr(workforce, "_ACCELERATORS", ("null",))
    assert number_of_workers(database, make_spec(trials=100, device="auto")) == workers
    monkeypatch.setattr(workforce, "_ACCELERATORS", ("no such device",))
    if sys.platform == "linux":
        assert number_of_workers(database, make_spec(trials=100, device="auto")) == 8


@pytest.mark.parametrize("workers", [0, 1025, 1.5, "many"])
def test_a_number_of_workers_that_cannot_be_is_refused(workers):
    """With what it can be."""
    with pytest.raises(SpecError, match=r"run.workers must be a whole number from 1 to 1024, or auto"):
        make_spec(workers=workers)


def test_each_gpu_has_a_worker_of_its_own(database, monkeypatch):
    """As long as the study names none: then that one serves all."""
    monkeypatch.setattr("lrsearch.training.devices.resolve_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert number_of_workers(database, make_spec(trials=100, device="cuda")) == 4
    assert number_of_workers(database, make_spec(trials=3, device="cuda")) == 3
    assert number_of_workers(database, make_spec(trials=100, device="cuda:1")) == 1
    shared = make_spec(device="cuda", workers=8)
    devices = [on_device_of(shared, number).run.device for number in range(6)]
    assert devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:0", "cuda:1"]
    assert on_device_of(make_spec(device="cuda:1"), 3).run.device == "cuda:1"
    assert on_device_of(make_spec(), 3).run.device == "cpu"
