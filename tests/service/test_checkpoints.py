"""Trials that go on from checkpoints: after a stop, after a death, and where a checkpoint is of no use."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lrsearch.results import Outcome, TrialResult
from lrsearch.service.checkpoint_folder import checkpoint_folder
from lrsearch.service.checkpoints import Checkpoints
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.progress import EndedTrial
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study
from lrsearch.service.tasks import find_task
from lrsearch.storage.address import parse_address
from lrsearch.storage.checkpoints import named_checkpoints
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.slots import Slots
from lrsearch.training.saved_lane import MisfitError, SavedLane
from tests.service.arrays import FormulaArray
from tests.service.test_outage import make_spec

EVERY_EPOCH = {"checkpoint_every_s": 0.0}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LRSEARCH_CHECKPOINT_DIR", str(tmp_path / "checkpoints"))


def files(tmp_path) -> list[Path]:
    """Return all files of checkpoints."""
    return sorted((tmp_path / "checkpoints").glob("*/*"))


def stopped_after(database, spec, epochs, array=None):
    """Run a study until its array has trained so many epochs."""
    array = array or FormulaArray()
    search = Search(database, open_study(database, spec), array, 2)
    for _progress in search.run(lambda: array.epochs >= epochs):
        pass
    return array


def died_after(database, spec, epochs):
    """Run a study until its array has trained so many epochs, and leave it as a killed process does."""
    array = FormulaArray()
    study = open_study(database, spec)
    search = Search(database, study, array, 2)
    search._worker.release = lambda _claims: None
    run = search.run()
    while array.epochs < epochs:
        next(run)
    next(run)
    search._worker.settle = search._worker._sweep = lambda: None
    run.close()
    change = "UPDATE lrsearch_slots SET lease_until = 0 WHERE state = 'leased'"
    database.transaction(lambda connection: connection.exec_driver_sql(change))
    return array


def whole_curves(database, uuid):
    """Return the epochs of all trials, each of which must be there once."""
    return sorted((epoch.trial, epoch.epoch) for epoch in curves(database, uuid))


def test_a_run_that_stops_goes_on_where_it_was(database, tmp_path) -> None:
    """The trials of its lanes are not trained again from their beginning, and no file is left at the end."""
    spec = make_spec(trials=2)
    stopped_after(database, spec, 2)
    assert len(files(tmp_path)) == 1
    array = stopped_after(database, spec, 99)
    assert array.epochs == 2
    uuid = open_study(database, spec).record.uuid
    assert whole_curves(database, uuid) == [(trial, epoch) for trial in (0, 1) for epoch in (1, 2, 3, 4)]
    assert files(tmp_path) == []


def test_a_trial_whose_worker_died_goes_on_from_its_checkpoint(database, tmp_path) -> None:
    """What it had learned since is forgotten, in Optuna's table too, and learned again."""
    spec = make_spec(trials=2, run={"checkpoint_every_s": 1000.0})
    stopped_after(database, spec, 1)
    died_after(database, spec, 1)
    array = stopped_after(database, spec, 99)
    assert array.epochs == 3
    uuid = open_study(database, spec).record.uuid
    assert whole_curves(database, uuid) == [(trial, epoch) for trial in (0, 1) for epoch in (1, 2, 3, 4)]
    assert files(tmp_path) == []
    trials = database.optuna_storage.get_all_trials(1)
    assert [list(trial.intermediate_values) for trial in trials] == [[1, 2, 3, 4]] * 2


def test_the_latest_checkpoint_counts_and_the_others_go(database, tmp_path) -> None:
    """There is one file of a worker's lanes at a time."""
    spec = make_spec(trials=2, run=EVERY_EPOCH)
    died_after(database, spec, 3)
    assert len(files(tmp_path)) == 1
    assert stopped_after(database, spec, 99).epochs <= 2


@pytest.mark.parametrize("damage", ["truncated", "missing", "foreign"])
def test_a_checkpoint_of_no_use_costs_one_restart(database, tmp_path, damage) -> None:
    """Its trials begin anew, the user is told why, and the results are the same."""
    spec = make_spec(trials=2)
    stopped_after(database, spec, 2)
    [path] = files(tmp_path)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "truncated" else b"\x80\x04K\x01.")
    array = FormulaArray()
    seen = list(Search(database, open_study(database, spec), array, 2).run())
    assert array.epochs == 4
    notes = [note for progress in seen for note in progress.notes]
    assert any("begin anew" in note for note in notes)
    uuid = open_study(database, spec).record.uuid
    assert whole_curves(database, uuid) == [(trial, epoch) for trial in (0, 1) for epoch in (1, 2, 3, 4)]


def test_a_checkpoint_that_does_not_fit_costs_one_restart(database) -> None:
    """The array refuses it: another kind of trainer, or another model."""

    class Refusing(FormulaArray):
        def resume(self, *_arguments):
            raise MisfitError("another shape")

    spec = make_spec(trials=2)
    stopped_after(database, spec, 2)
    array = stopped_after(database, spec, 99, Refusing())
    assert array.epochs == 4
    uuid = open_study(database, spec).record.uuid
    assert whole_curves(database, uuid) == [(trial, epoch) for trial in (0, 1) for epoch in (1, 2, 3, 4)]


def test_a_full_disk_stops_no_training(database, tmp_path, monkeypatch) -> None:
    """The user is told once; the study ends as without checkpoints."""

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    spec = make_spec(trials=4, run=EVERY_EPOCH)
    seen = list(Search(database, open_study(database, spec), FormulaArray(), 2).run())
    notes = [note for progress in seen for note in progress.notes]
    assert len([note for note in notes if "No space left on device" in note]) == 1
    assert seen[-1].ended_trials == 4
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_stops_no_training(database, tmp_path, monkeypatch) -> None:
    """A file stands in its place; a read-only folder is refused in the same way."""
    (tmp_path / "taken").touch()
    monkeypatch.setenv("LRSEARCH_CHECKPOINT_DIR", str(tmp_path / "taken"))
    spec = make_spec(trials=2, run=EVERY_EPOCH)
    seen = list(Search(database, open_study(database, spec), FormulaArray(), 2).run())
    assert len([note for progress in seen for note in progress.notes if "no checkpoint" in note]) == 1
    assert seen[-1].ended_trials == 2


def test_checkpoints_keep_to_their_share_of_the_disk(database, tmp_path) -> None:
    """One that would exceed it is not written, which is told once; 0 GB writes none and says nothing."""

    class Large(FormulaArray):
        def save(self, trial):
            return replace(super().save(trial), values={"x": torch.zeros(1000)})

    for gigabytes, told in ((1e-6, 1), (0.0, 0)):
        spec = make_spec(name=f"s{told}", trials=2, run={**EVERY_EPOCH, "checkpoint_max_gb": gigabytes})
        seen = list(Search(database, open_study(database, spec), Large(), 2).run())
        notes = [note for progress in seen for note in progress.notes]
        assert len([note for note in notes if "checkpoint_max_gb" in note]) == told
    assert files(tmp_path) == []


def test_a_worker_that_lost_its_trial_cannot_change_its_checkpoint(database) -> None:
    """The slot names the new holder's file, whatever the old one writes."""
    spec = make_spec(trials=1, run=EVERY_EPOCH)
    late = Search(database, open_study(database, spec), FormulaArray(), 1)
    run = late.run()
    for _epoch in range(3):
        next(run)
    uuid = late.study.record.uuid
    database.transaction(lambda c: c.exec_driver_sql("UPDATE lrsearch_slots SET lease_until = 0"))
    [stolen] = Slots(database, uuid).claim("thief", 1)
    before = named_checkpoints(database, uuid)
    late._save()
    assert named_checkpoints(database, uuid) == before == {stolen.checkpoint}
    run.close()


def test_a_trial_that_repeats_another_keeps_no_epochs_of_its_own(database) -> None:
    """What it had learned beyond the other one's end is forgotten."""
    spec = make_spec(trials=2, epochs=6)
    study = open_study(database, spec)
    stopped_after(database, spec, 4)
    uuid, results = study.record.uuid, Slots(database, study.record.uuid)
    search = Search(database, open_study(database, spec), FormulaArray(), 2)
    lanes = [search._lane(held) for held in search._worker.begin(search._worker.claim(2))]
    ended = EndedTrial(99, lanes[1].shown.hyperparameters, TrialResult(Outcome.PRUNED, 0.5, 2))
    search._trained = {lanes[1].key: ended}
    repeated = search._anew(lanes[1])
    assert repeated.shown.epoch == 0
    assert whole_curves(database, uuid) == [(0, epoch) for epoch in (1, 2, 3, 4)]
    assert results.counts().leased == 2


def test_a_worker_of_the_same_name_overwrites_nothing(tmp_path) -> None:
    """Nor does it delete what another one, whose name begins alike, has just written."""
    run = make_spec().run
    folder = tmp_path / "checkpoints" / "study"
    earlier, later, alike = (
        Checkpoints(folder, "study", name, run, print) for name in ("gpu", "gpu", "gpu-1")
    )
    lane = SavedLane("formula", 1, None, {})
    names = [each.write({(0, "digest"): lane}) for each in (earlier, later, alike)]
    assert len(set(names)) == 3
    later.sweep(set(), all_ended=False)
    assert {path.name for path in folder.iterdir()} == {names[0], names[2]}


PROGRAM = """
import sys
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.studies import open_study
from lrsearch.service.tasks import find_task
from lrsearch.storage.database import open_database
from tests.service.test_checkpoints import real_spec
import torch

torch.set_default_dtype(torch.float64)
with open_database(sys.argv[1]) as database:
    spec = real_spec()
    task = find_task(spec)
    search = prepare(database, spec, task, load_onto_device(spec, task), lambda: open_study(database, spec))
    for progress in search.run():
        print([lane.epoch for lane in progress.running], flush=True)
"""


def real_spec(name="s"):
    """Return a study of real training in float64, with a checkpoint after every epoch."""
    changes = {"name": name, "epochs": 12, "run": {**EVERY_EPOCH, "lanes": 3}}
    return make_spec(trials=3, optimizer={"name": "SGD", "momentum": 0.9}, **changes)


def real_losses(database, name) -> dict[tuple[int, int], float]:
    """Train what is left of a study here, and return its losses by trial and epoch."""
    spec = real_spec(name)
    task = find_task(spec)
    search = prepare(database, spec, task, load_onto_device(spec, task), lambda: open_study(database, spec))
    *_, last = search.run()
    assert last.ended_trials == 3
    uuid = search.study.record.uuid
    return {(epoch.trial, epoch.epoch): epoch.valid_loss for epoch in curves(database, uuid)}


def test_a_killed_process_costs_nothing_of_what_was_saved(created_url) -> None:
    """Its trials go on from their checkpoint, and in float64 their losses are as if never interrupted."""
    before = torch.get_default_dtype()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, created_url], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "6" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    torch.set_default_dtype(torch.float64)
    try:
        with open_database(created_url) as database:
            change = "UPDATE lrsearch_slots SET lease_until = 0 WHERE state = 'leased'"
            database.transaction(lambda connection: connection.exec_driver_sql(change))
            begun = len(whole_curves(database, open_study(database, real_spec()).record.uuid))
            found, expected = real_losses(database, "s"), real_losses(database, "never interrupted")
    finally:
        torch.set_default_dtype(before)
    assert begun >= 15
    assert found.keys() == expected.keys()
    torch.testing.assert_close(
        torch.tensor([found[key] for key in sorted(found)], dtype=torch.float64),
        torch.tensor([expected[key] for key in sorted(expected)], dtype=torch.float64),
        rtol=1e-10,
        atol=0,
    )


def test_the_folder_follows_from_option_environment_and_database(tmp_path, monkeypatch) -> None:
    """In this order; beside a SQLite file unless told otherwise."""
    address = parse_address(f"sqlite:///{tmp_path}/s.db")
    assert checkpoint_folder(address, "/somewhere") == Path("/somewhere")
    assert checkpoint_folder(address) == tmp_path / "checkpoints"
    monkeypatch.delenv("LRSEARCH_CHECKPOINT_DIR")
    assert checkpoint_folder(address) == tmp_path / "s.db.checkpoints"
    assert checkpoint_folder(parse_address("postgresql://host/db")).name == "checkpoints"
