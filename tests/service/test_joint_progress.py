"""Where a study stands that several workers train: their lanes and news together."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.results import Outcome, TrialResult
from lrsearch.schedules import Hyperparameters
from lrsearch.service.joint_progress import JointProgress
from lrsearch.service.progress import EndedTrial, Progress, RunningTrial, StopReason

POINT = Hyperparameters(0.5)
ENDINGS = (
    lambda n: TrialResult(Outcome.COMPLETE, float(n % 7), 4),
    lambda _: TrialResult(Outcome.PRUNED, 1.0, 2),
    lambda _: TrialResult(Outcome.PRUNED, float("inf"), 1, diverged=True),
    lambda n: TrialResult(Outcome.FAIL, None, 0, reason=f"reason {n}"),
)


def ended(number, ending=0):
    """Return a trial that has ended."""
    return EndedTrial(number, POINT, ENDINGS[ending](number))


def counts(trials):
    """Return what ``Progress.ended`` says of some trials."""
    return {
        **Counter(trial.result.outcome.value for trial in trials),
        "diverged": sum(trial.result.diverged for trial in trials),
    }


def best(trials):
    """Return the best complete trial."""
    complete = [trial for trial in trials if trial.result.outcome is Outcome.COMPLETE]
    return min(complete, key=lambda trial: trial.result.value, default=None)


def progress(known=(), running=(), news=(), **values):
    """Return what a worker says that knows of some trials and trains others."""
    lanes = tuple(RunningTrial(number, POINT, epoch) for number, epoch in running)
    waiting = not running and not news
    return Progress(40, 4, counts(known), lanes, best(known), news=tuple(news), waiting=waiting, **values)


@given(
    before=st.lists(st.integers(0, 3), max_size=4),
    said=st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.integers(0, 3), max_size=3), st.booleans()), max_size=20
    ),
    data=st.data(),
)
def test_all_news_come_once_and_the_counts_are_exact(before, said, data):
    """Whoever speaks when, knows how much of the others, and whenever the joint progress is taken."""
    earlier = [ended(number, ending) for number, ending in enumerate(before)]
    joint, everything, number = JointProgress(progress(earlier)), list(earlier), len(earlier)
    told, taken = [], []
    for worker, endings, take in said:
        news = [ended(number + place, ending) for place, ending in enumerate(endings)]
        number += len(news)
        everything += news
        others = everything[len(earlier) : len(everything) - len(news)]
        known = data.draw(st.integers(0, len(others)))
        joint.add(worker, progress([*earlier, *others[:known], *news], news=news))
        if take:
            taken.append(joint.take())
            told += taken[-1].news
    last = joint.take(stopped=StopReason.BUDGET)
    told += last.news
    assert [trial.number for trial in told] == list(range(len(earlier), number))
    assert last.counts == Progress(40, 4, counts(everything)).counts
    assert [each.ended_trials for each in taken] == sorted(each.ended_trials for each in taken)
    assert last.stopped is StopReason.BUDGET
    assert joint.take().news == ()


def test_lanes_of_all_workers_are_shown_in_their_order():
    """Those of a worker that has left are not, nor does it wait while others train."""
    joint = JointProgress(progress(running=[(3, 1)]))
    joint.add(1, progress(running=[(1, 2), (4, 0)]))
    joint.add(2, progress(running=[(2, 2)]))
    assert [lane.number for lane in joint.take().running] == [1, 2, 3, 4]
    joint.leave(1)
    joint.add(0, progress())
    assert not joint.take().waiting
    joint.leave(2)
    assert joint.take().waiting


def test_a_trial_that_has_ended_has_no_lane():
    """Though the worker that held it first has not noticed yet."""
    joint = JointProgress(progress(running=[(0, 1)]))
    joint.add(1, progress([ended(0)], news=[ended(0)]))
    assert joint.take().running == ()


def test_the_best_trial_is_that_of_all_workers():
    """The smallest value, the last reason of a failure, and the largest budget that anyone knows."""
    joint = JointProgress(progress([ended(3)]))
    joint.add(1, progress([ended(1), ended(2)], news=[ended(1)], last_failure="no memory"))
    taken = joint.take()
    assert taken.best.number == 1
    assert taken.last_failure == "no memory"


def test_a_note_is_told_once():
    """With the next progress."""
    joint = JointProgress(progress())
    assert not joint.has_news
    joint.leave(1, "it has gone")
    assert joint.has_news
    assert joint.take().notes == ("it has gone",)
    assert joint.take().notes == ()


def test_the_time_left_counts_the_parts_of_all_lanes():
    """Two trials of the run and two halves in 30 s: three of 36 are done, so 33 take 330 s."""
    earlier = [ended(number) for number in range(4)]
    joint = JointProgress(progress(earlier, elapsed_s=30.0))
    assert joint.take().remaining_s is None
    joint.add(0, progress([*earlier, ended(4)], running=[(6, 2)], news=[ended(4)]))
    joint.add(1, progress([*earlier, ended(5)], running=[(7, 2)], news=[ended(5)]))
    assert joint.take().remaining_s == pytest.approx(330.0, rel=0.05)
