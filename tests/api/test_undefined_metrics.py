"""A metric that is a number for the untrained model and none later is recorded as such; nothing breaks."""

import csv
import io

from torch import nn

import lrsearch
from tests.api.tasks import regression
from tests.cli.commands import succeed


def excess(outputs, targets):
    """Return the square root of what the loss has above 0.5: NaN once it is below."""
    return (nn.functional.mse_loss(outputs, targets) - 0.5).sqrt()


def test_a_metric_that_becomes_nan_decides_nothing_and_shows_as_none(monkeypatch, tmp_path):
    """Tables, JSON and CSV have null, nothing or nan in its place; the values are those without metrics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    task = regression(metrics={"excess": excess, "mae": nn.L1Loss()})
    space = {"lr": 0.05, "warmup_fraction": 0.0}
    options = {
        "space": space,
        "kinds": ["constant"],
        "sampler": "random",
        "pruner": "none",
        "progress": False,
    }
    result = lrsearch.optimize(task, name="mine", trials=2, **options)
    assert result.value == lrsearch.optimize(regression(), name="plain", trials=2, **options).value

    rows = [row for row in succeed("curves", "mine", "--format", "json").json if row["trial"] == 0]
    undefined = [row["metrics"]["valid_excess"] is None for row in rows]
    assert undefined == [row["valid_loss"] < 0.5 for row in rows]
    assert set(undefined) == {False, True}
    table = list(csv.DictReader(io.StringIO(succeed("curves", "mine", "--format", "csv").out)))
    figures = [row["metrics.valid_excess"] for row in table if row["trial"] == "0"]
    assert [figure in {"", "nan"} for figure in figures] == undefined
    assert "valid_excess nan" in succeed("show", "mine").out
    assert len(succeed("trials", "mine", "--format", "json").json) == 2
    again = lrsearch.optimize(task, name="mine", trials=3, **options)
    assert [record.value for record in again.records][:2] == [record.value for record in result.records]
