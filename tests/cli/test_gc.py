"""``lrsearch gc`` deletes what is left of checkpoints, and nothing that is needed."""

import os
import time
from pathlib import Path
from uuid import uuid4

import pytest

from lrsearch.storage.checkpoints import name_checkpoint
from lrsearch.storage.database import open_database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import find_study
from tests.cli.commands import succeed

TWO_HOURS_AGO = time.time() - 7200


@pytest.fixture
def folder(pending) -> Path:
    """The folder of the pending study, with a file that is needed, one that is not, and a young one."""
    with open_database() as database:
        uuid = find_study(database, pending).uuid
        slots = Slots(database, uuid)
        name_checkpoint(slots, slots.claim("worker", 1), "needed.pt")
    path = Path(f"lrsearch.db.checkpoints/{uuid}")
    path.mkdir(parents=True)
    for name in ("needed.pt", "left.pt", "young.pt"):
        (path / name).write_bytes(b"x" * 2_000_000)
    for name in ("needed.pt", "left.pt"):
        os.utime(path / name, (TWO_HOURS_AGO, TWO_HOURS_AGO))
    return path


def names(path: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(each.name for each in path.iterdir())


def test_what_no_trial_needs_is_deleted(folder):
    """A file that was just written may be about to be named; one that a slot names is needed."""
    outcome = succeed("gc")
    assert "Deleted 1 file, 2.0 MB." in outcome.out
    assert names(folder) == ["needed.pt", "young.pt"]
    assert "Nothing to delete." in succeed("gc").out


def test_a_dry_run_deletes_nothing(folder):
    """It says what would be deleted."""
    assert "Would delete 1 file, 2.0 MB." in succeed("gc", "--dry-run").out
    assert len(names(folder)) == 3


def test_a_deleted_study_leaves_no_checkpoints(folder):
    """They go with it."""
    succeed("delete", "pen ding", "--yes")
    assert not folder.exists()


@pytest.mark.usefixtures("folder")
def test_checkpoints_of_other_databases_are_left(monkeypatch):
    """In a folder that several share they may be needed; told so, they go too."""
    shared = Path("shared").absolute()
    other = shared / str(uuid4())
    other.mkdir(parents=True)
    (other / "worker-1.pt").write_bytes(b"x")
    monkeypatch.setenv("LRSEARCH_CHECKPOINT_DIR", str(shared))
    assert "Left 1 file" in succeed("gc").out
    assert names(other) == ["worker-1.pt"]
    assert "Deleted 1 file" in succeed("gc", "--unknown").out
    assert not other.exists()
