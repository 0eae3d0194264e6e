"""What a process that trains nothing sees of a study: all that others do, each end told once."""

import pytest

from lrsearch.errors import DatabaseLostError
from lrsearch.results import EpochResult, Outcome, TrialResult
from lrsearch.service.onlooker import Onlooker
from lrsearch.service.progress import StopReason
from lrsearch.service.studies import extend, open_study, resolved
from lrsearch.service.worker import Worker
from lrsearch.spec import spec_from
from lrsearch.storage.epochs import record_epochs

CONTENT = {"name": "s", "task": "digits-mlp", "trials": 3, "epochs": 4, "sampler": "random"}


@pytest.fixture
def study(database):
    """A study of three trials, of which none has begun."""
    spec = {**CONTENT, "first_trials": False, "run": {"storage_patience_s": 0.0}}
    return open_study(database, resolved(spec_from(spec, "test")))


def test_what_others_train_and_end_is_shown(database, study):
    """A running trial with its epoch and loss; then how it ended, once, also among the lowest slots."""
    onlooker, worker = Onlooker(database, study), Worker(database, study, "cpu")
    assert onlooker.progress().running == ()
    with worker:
        first, second = worker.begin(worker.claim(2))
        for epoch, loss in ((1, 0.9), (2, 0.8)):
            report = (first.claim, EpochResult(first.number, epoch, 1.0, loss, {}, 0.1, 0.5), loss)
            assert record_epochs(worker.slots, [report]) == []
        shown = onlooker.progress()
        assert [(each.number, each.epoch, each.valid_loss) for each in shown.running] == [
            (first.number, 2, 0.8),
            (second.number, 0, None),
        ]
        assert shown.running[0].hyperparameters == first.shown.hyperparameters
        for held, value in ((first, 0.5), (second, 0.25)):
            worker.end([(held, TrialResult(Outcome.COMPLETE, value, 4))])
            worker.settle()
            [news] = onlooker.progress().news
            assert (news.number, news.result.value) == (held.number, value)
    last = onlooker.progress(["a note"], StopReason.INTERRUPTED)
    assert (last.news, last.running, last.notes) == ((), (), ("a note",))
    assert (last.ended["COMPLETE"], last.trials, last.best.number) == (2, 3, second.number)
    assert last.stopped is StopReason.INTERRUPTED


def test_a_budget_is_spent_when_no_slot_is_left_and_may_grow(database, study):
    """A slot that is free, or held, is left."""
    onlooker = Onlooker(database, study)
    with Worker(database, study, "cpu") as worker:
        held = worker.begin(worker.claim(3))
        assert not onlooker.is_spent()
        worker.end([(each, TrialResult(Outcome.PRUNED, 1.0, 1)) for each in held])
    assert onlooker.is_spent()
    extend(database, "s", trials=2)
    assert not onlooker.is_spent()
    assert onlooker.progress().trials == 5


def test_while_the_database_is_away_a_study_stands_where_it_stood(database, study, monkeypatch):
    """That is told; for longer than the patience it is an error."""
    onlooker = Onlooker(database, study)

    def lost(*_arguments):
        raise DatabaseLostError("away")

    monkeypatch.setattr(database.optuna_storage, "read", lost)
    shown = onlooker.progress()
    assert (shown.trials, shown.news) == (3, ())
    assert "does not answer" in shown.notes[0]
    assert not onlooker.is_spent()
    onlooker._outage._next_try = 0.0
    with pytest.raises(DatabaseLostError, match=r"storage_patience_s = 0"):
        onlooker.progress()
