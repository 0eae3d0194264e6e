"""Trials and curves as rows for other programs: JSON that any parser reads, or CSV."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrsearch.results import EpochResult, TrialRecord

Row = dict[str, Any]


TRIAL_FIELDS = (
    "number",
    "state",
    "value",
    "diverged",
    "params",
    "epochs",
    "started_at",
    "finished_at",
)
CURVE_FIELDS = ("trial", "epoch", "train_loss", "valid_loss", "metrics", "lr", "seconds")
HISTORY_FIELDS = ("epoch", "train_loss", "valid_loss", "metrics", "lr")


def trial_rows(records: Iterable[TrialRecord]) -> list[Row]:
    """Return a row per trial; times are UTC in ISO 8601."""
    return [_row(record, TRIAL_FIELDS) for record in records]


def curve_rows(results: Iterable[EpochResult]) -> list[Row]:
    """Return a row per trial and epoch (from 1); lr is that of the epoch's last update."""
    return [_row(result, CURVE_FIELDS) for result in results]


def history_rows(results: Iterable[EpochResult]) -> list[Row]:
    """Return a row per epoch of one training (from 1); lr is that of the epoch's last update."""
    return [_row(result, HISTORY_FIELDS) for result in results]


def trial_table(records: Iterable[TrialRecord]) -> tuple[list[Row], list[str]]:
    """Return a flat row per trial, and the columns in their order; parameters are ``params.lr`` and so on."""
    rows = trial_rows(records)
    return [_flatten(row) for row in rows], _columns(rows, TRIAL_FIELDS)


def as_json(rows: Sequence[Row]) -> str:
    """Return rows as a JSON list of objects; numbers that are not finite become null."""
    return json.dumps(finite(rows), indent=2, allow_nan=False)


def as_csv(rows: Sequence[Row], fields: Sequence[str]) -> str:
    """Return rows as CSV; nested values get columns of their own, such as ``params.lr``.

    Args:
        rows: all with the same fields.
        fields: their names, in the order of the columns; the header stands even above no rows.
    """
    flat = [_flatten(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows, fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def finite(value: Any) -> Any:
    """Return a JSON-able value with None in place of numbers that JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _row(record: Any, fields: Iterable[str]) -> Row:
    values = {name: getattr(record, name) for name in fields}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def _columns(rows: Sequence[Row], fields: Sequence[str]) -> list[str]:
    """Return the columns; those of a nested field stand together, in its place."""
    columns: dict[str, None] = {}
    for field in fields:
        for row in rows or [{field: None}]:
            columns.update(dict.fromkeys(_flatten({field: row[field]})))
    return list(columns)


def _flatten(row: Mapping[str, Any], prefix: str = "") -> Row:
    flat: Row = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
