"""What an audit says of a study's pruning."""

import math

from lrsearch.results import TrialRecord
from lrsearch.retrainings import Audit, Retraining
from lrsearch.review.audit import audit_sentence, audit_table
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from

SPEC = resolved(
    spec_from(
        {
            "name": "s",
            "task": "digits-mlp",
            "trials": 20,
            "epochs": 2,
            "first_trials": False,
            "space": {"kinds": ["constant", "WSD"], "warmup_fraction": 0.0},
        },
        "test",
    )
)


def params(kind):
    """Return the searched part of a point."""
    return {"lr": 0.1, "kind": kind, **({"WSD.decay_fraction": 0.3} if kind == "WSD" else {})}


def records():
    """Return ten complete trials with values 1 to 10 and ten stopped ones, half of each kind."""
    kinds = ["constant", "WSD"] * 10
    return [
        TrialRecord(
            number,
            "COMPLETE" if number < 10 else "PRUNED",
            float(number + 1),
            False,
            params(kinds[number]),
            2 if number < 10 else 1,
        )
        for number in range(20)
    ]


def audit(**values):
    """Return an audit of trials that ended with values, by number behind an underscore."""
    runs = {}
    for name, value in values.items():
        end = (9.0,) if value == math.inf else (1.0, value)
        runs[int(name[1:])] = Retraining({}, 0, 2, end, diverged=value == math.inf)
    return Audit(tuple(range(10, 20)), runs, "2026-01-01T00:00:00+00:00")


def test_a_stopped_trial_counts_if_the_best_tenth_had_room_for_it():
    """A tenth of twenty trials is two places: what is below the second best value would have had one."""
    table = audit_table(SPEC, records(), audit(_10=1.5, _11=0.5, _12=2.5, _13=math.inf))
    assert (table.places, table.limit) == (2, 2.0)
    assert [(row.kind, row.stopped, row.sampled, row.best) for row in table.rows] == [
        ("WSD", 5, 2, 1),
        ("constant", 5, 2, 1),
        (None, 10, 4, 2),
    ]


def test_an_audit_says_whether_the_best_trial_was_lost():
    """In plain words."""
    some = "4 of 10 stopped trials were trained to their end: "
    lost = audit_sentence(audit_table(SPEC, records(), audit(_10=1.5, _11=0.5, _12=2.5, _13=9.0)))
    assert lost == some + "2 of them would have been among the best 2, and one the best."
    kept = audit_sentence(audit_table(SPEC, records(), audit(_10=3.5, _11=1.5, _12=2.5, _13=9.0)))
    assert kept == some + "1 of them would have been among the best 2, and none the best."


def test_without_a_complete_trial_every_one_that_ends_would_have_had_room():
    """Nothing else is known to be better."""
    table = audit_table(SPEC, records()[10:], audit(_10=1.5, _11=math.inf))
    assert table.rows[-1].best == 1
    assert audit_sentence(table).endswith("1 of them would have been among the best 1.")
