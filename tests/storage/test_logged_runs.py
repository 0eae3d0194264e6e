"""Logged trajectories in the database: stored once, come back as they were, and go with their study."""

from dataclasses import replace

from lrsearch.storage.database import Database
from lrsearch.storage.logged_runs import record_trajectory, stored_trajectory
from lrsearch.storage.studies import create_study, delete_study
from lrsearch.trajectory import Loop, ModelParameter, Trajectory

PARAMETERS = (ModelParameter('odd "name"', 2, True, 0), ModelParameter("b", 1, False, None))
EXAMPLE = Trajectory(
    2, 3, {0: (0.1, 1 / 3), 5: (1e-300, 0.0)}, PARAMETERS, (0.7, 0.1 + 0.2), Loop(1.0, 2, True)
)


def test_a_trajectory_comes_back_as_it_was(database: Database) -> None:
    """To the last bit, and the first that is stored stays."""
    record_trajectory(database, "study", "key", EXAMPLE)
    record_trajectory(database, "study", "key", replace(EXAMPLE, epochs=9))
    assert stored_trajectory(database, "study", "key") == EXAMPLE
    assert stored_trajectory(database, "study", "other") is None
    assert stored_trajectory(database, "other", "key") is None


def test_it_is_deleted_with_its_study(database: Database) -> None:
    """And with no other."""
    gone, kept = (create_study(database, name, {}, 1).uuid for name in ("gone", "kept"))
    for uuid in (gone, kept):
        record_trajectory(database, uuid, "key", EXAMPLE)
    delete_study(database, "gone")
    assert stored_trajectory(database, gone, "key") is None
    assert stored_trajectory(database, kept, "key") == EXAMPLE
