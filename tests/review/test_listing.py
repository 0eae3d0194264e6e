"""Rows for other programs: JSON that strict parsers read, CSV whose columns stand in order."""

import csv
import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.results import EpochResult, TrialRecord
from lrsearch.review.listing import (
    CURVE_FIELDS,
    TRIAL_FIELDS,
    as_csv,
    as_json,
    curve_rows,
    trial_rows,
)

COMPLETE = TrialRecord(
    0, "COMPLETE", 0.25, False, {"lr": 0.1, "kind": "WSD"}, 5, "2026-01-02T03:04:05+00:00", None
)
DIVERGED = TrialRecord(1, "PRUNED", math.inf, True, {"lr": 4.0, "kind": "StepLR", "StepLR.gamma": 0.5}, 1)
FAILED = TrialRecord(2, "FAIL", None, False, {}, 0, reason="RuntimeError: no")
EPOCH = EpochResult(3, 1, math.nan, -math.inf, {"valid_accuracy": 0.5}, 0.1, 0.01)


def strictly(text):
    """Parse JSON as the standard has it: NaN and Infinity are no numbers."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def table(text):
    """Parse CSV into a dictionary a row."""
    return list(csv.DictReader(io.StringIO(text)))


def test_a_trial_has_the_promised_fields():
    """By the names of Optuna, parameters below one key."""
    [row] = strictly(as_json(trial_rows([COMPLETE])))
    assert row == {
        "number": 0,
        "state": "COMPLETE",
        "value": 0.25,
        "diverged": False,
        "params": {"lr": 0.1, "kind": "WSD"},
        "epochs": 5,
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": None,
    }


def test_an_epoch_has_the_promised_fields():
    """Losses that are not finite are null."""
    [row] = strictly(as_json(curve_rows([EPOCH])))
    assert row == {
        "trial": 3,
        "epoch": 1,
        "train_loss": None,
        "valid_loss": None,
        "metrics": {"valid_accuracy": 0.5},
        "lr": 0.1,
        "seconds": 0.01,
    }


def test_a_diverged_trials_value_is_null():
    """JSON has no infinity; the flag says what happened."""
    [row] = strictly(as_json(trial_rows([DIVERGED])))
    assert row["value"] is None
    assert row["diverged"] is True


@pytest.mark.parametrize("rows", [[], [{}]])
def test_no_rows_are_an_empty_list(rows):
    """Still a list of objects."""
    assert strictly(as_json(rows)) == rows


def nested(numbers):
    """Draw what a row may hold: values, lists and tables of them."""
    values = st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=5)
    return st.recursive(
        values,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    )


@settings(max_examples=100)
@given(st.dictionaries(st.text(max_size=3), nested(st.floats(allow_nan=False, allow_infinity=False))))
def test_what_is_finite_is_read_back_as_it_was(row):
    """Every digit, every nesting."""
    assert strictly(as_json([row])) == [row]


@settings(max_examples=100)
@given(nested(st.floats()))
def test_what_is_not_finite_is_null_wherever_it_stands(value):
    """A strict parser reads what a lenient one reads with null in place of NaN and Infinity."""
    row = {"value": value, "pair": (math.nan, 1.0)}
    lenient = json.loads(json.dumps(row), parse_constant=lambda _word: None)
    assert strictly(as_json([row])) == [lenient]


def test_numbers_of_a_csv_lose_nothing():
    """Every digit of a float is written, and the nested values have columns of their own."""
    record = TrialRecord(0, "COMPLETE", 1 / 3, False, {"lr": 0.1 + 0.2}, 5)
    [row] = table(as_csv(trial_rows([record]), TRIAL_FIELDS))
    assert float(row["value"]) == 1 / 3
    assert float(row["params.lr"]) == 0.1 + 0.2


def test_columns_stand_in_the_order_of_the_fields():
    """Parameters that only later trials have stand beside those of the first, not behind everything."""
    header, *lines = as_csv(trial_rows([COMPLETE, DIVERGED, FAILED]), TRIAL_FIELDS).splitlines()
    assert header.split(",") == [
        "number",
        "state",
        "value",
        "diverged",
        "params.lr",
        "params.kind",
        "params.StepLR.gamma",
        "epochs",
        "started_at",
        "finished_at",
    ]
    assert len(lines) == 3
    assert lines[2] == "2,FAIL,,False,,,,0,,"


def test_a_csv_without_rows_has_its_header():
    """A program that reads columns by name finds them."""
    assert as_csv([], CURVE_FIELDS) == "trial,epoch,train_loss,valid_loss,metrics,lr,seconds\n"


def test_metrics_are_columns():
    """By the name of the metric."""
    [row] = table(as_csv(curve_rows([EPOCH]), CURVE_FIELDS))
    assert row["metrics.valid_accuracy"] == "0.5"
    assert list(row)[4] == "metrics.valid_accuracy"
