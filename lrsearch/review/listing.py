"""Trials and curves as rows for other programs: JSON that any parser reads, or CSV."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrsearch.results import EpochResult, TrialRecord

Row = dict[str, Any]


def trial_rows(records: Iterable[TrialRecord]) -> list[Row]:
    """Return a row per trial; times are UTC in ISO 8601."""
    return [
        {
            "number": record.number,
            "state": record.state,
            "value": record.value,
            "diverged": record.diverged,
            "params": dict(record.params),
            "epochs": record.epochs,
            "started_at": record.started_at,
            "finished_at": record.finished_at,
            "reason": record.reason,
        }
        for record in records
    ]


def curve_rows(results: Iterable[EpochResult]) -> list[Row]:
    """Return a row per trial and epoch (from 1); lr is that of the epoch's last update."""
    return [
        {
            "trial": result.trial,
            "epoch": result.epoch,
            "train_loss": result.train_loss,
            "valid_loss": result.valid_loss,
            "metrics": dict(result.metrics),
            "lr": result.lr,
            "seconds": result.seconds,
        }
        for result in results
    ]


def as_json(rows: Sequence[Row]) -> str:
    """Return rows as a JSON list of objects; numbers that are not finite become null."""
    return json.dumps(finite(rows), indent=2, allow_nan=False)


def as_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV with a header; nested values get columns of their own, such as ``params.lr``."""
    flat = [_flatten(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
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


def _flatten(row: Mapping[str, Any], prefix: str = "") -> Row:
    flat: Row = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
