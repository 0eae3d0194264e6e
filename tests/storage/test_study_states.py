"""The state of a study, and how workers share themselves among studies."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lrsearch.storage.database import Database, open_database
from lrsearch.storage.studies import StudyRecord, create_study, delete_study, find_study
from lrsearch.storage.study_states import StudyState, pause_failing, set_share, set_state, study_state
from lrsearch.storage.tables import FAILING, OPEN, PAUSED, STOPPED


@pytest.fixture
def study(database: Database) -> StudyRecord:
    """A study of one trial."""
    return create_study(database, "s", {"name": "s"}, trials=1)


def test_a_study_is_open_when_it_is_made(database: Database, study: StudyRecord) -> None:
    """To any number of workers, and with no priority over others."""
    assert study_state(database, study.uuid) == StudyState(OPEN, None)
    assert (study.state, study.state_reason, study.priority, study.max_workers) == (OPEN, None, 0, None)


@pytest.mark.parametrize("state", [PAUSED, STOPPED, OPEN])
def test_a_state_is_kept_with_its_reason(database: Database, study: StudyRecord, state: str) -> None:
    """And given to whoever finds the study; another one replaces both, and other studies keep theirs."""
    other = create_study(database, "other", {"name": "other"}, trials=1)
    set_state(database, study.uuid, state, "the night is over")
    assert study_state(database, study.uuid) == StudyState(state, "the night is over")
    found = find_study(database, "s")
    assert (found.state, found.state_reason) == (state, "the night is over")
    set_state(database, study.uuid, OPEN)
    assert study_state(database, study.uuid) == StudyState(OPEN, None)
    assert study_state(database, other.uuid) == StudyState(OPEN, None)


def test_an_open_study_is_paused_for_its_failures(database: Database, study: StudyRecord) -> None:
    """With the reason, of any length; the first worker's stays."""
    pause_failing(database, study.uuid, "ValueError: no data" + "." * 5000)
    pause_failing(database, study.uuid, "KeyError: 1")
    state = study_state(database, study.uuid)
    assert state.name == FAILING
    assert state.reason is not None
    assert state.reason.startswith("ValueError: no data")


@pytest.mark.parametrize("state", [PAUSED, STOPPED])
def test_what_a_user_has_decided_stays(database: Database, study: StudyRecord, state: str) -> None:
    """Failures of trials that were still running change neither state nor reason."""
    set_state(database, study.uuid, state, "maintenance")
    pause_failing(database, study.uuid, "ValueError: no data")
    assert study_state(database, study.uuid) == StudyState(state, "maintenance")


def test_of_workers_that_pause_a_study_at_once_one_gives_the_reason(created_url: str) -> None:
    """And a user who pauses it at the same moment has the last word or the first, never half of one."""
    with open_database(created_url) as database:
        study = create_study(database, "s", {"name": "s"}, trials=1)

    def act(number: int) -> None:
        with open_database(created_url) as database:
            if number == 0:
                set_state(database, study.uuid, PAUSED, "by hand")
            else:
                pause_failing(database, study.uuid, f"reason {number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(act, range(8)))
    with open_database(created_url) as database:
        assert study_state(database, study.uuid) == StudyState(PAUSED, "by hand")


def test_a_share_is_changed_in_part(database: Database, study: StudyRecord) -> None:
    """What is not given stays; 0 workers are any number of them."""

    def share() -> tuple[int, int | None]:
        found = find_study(database, "s")
        return found.priority, found.max_workers

    set_share(database, study.uuid, priority=-3, max_workers=2)
    assert share() == (-3, 2)
    set_share(database, study.uuid, priority=5, max_workers=None)
    assert share() == (5, 2)
    set_share(database, study.uuid, priority=None, max_workers=0)
    assert share() == (5, None)
    set_share(database, study.uuid, priority=None, max_workers=None)
    assert share() == (5, None)
    assert study_state(database, study.uuid) == StudyState(OPEN, None)


def test_a_study_that_was_deleted_keeps_nobody_waiting(database: Database, study: StudyRecord) -> None:
    """Its workers meet that elsewhere; to change it changes nothing."""
    delete_study(database, "s")
    set_state(database, study.uuid, PAUSED)
    pause_failing(database, study.uuid, "ValueError")
    assert study_state(database, study.uuid) == StudyState(OPEN, None)
