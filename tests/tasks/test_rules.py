"""One set of rules for the attributes of every task, however it was made."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import lrsearch
from lrsearch.errors import TaskError
from lrsearch.tasks import load_task
from lrsearch.tasks.rules import check_task
from lrsearch.tasks.task import Split, Splits, Task
from lrsearch.training.data import load_data
from tests.tasks.plain import linear_model, mae, regression, regression_data

BROKEN = [
    ("accumulate", 0, "accumulate must be a whole number of at least 1, but got 0"),
    ("accumulate", 1.5, "accumulate must be a whole number of at least 1, but got 1.5"),
    ("accumulate", True, "accumulate must be a whole number of at least 1, but got True"),
    ("batch_size", None, "batch_size must be a whole number of at least 1, but got None"),
    ("epochs", 2.0, "epochs must be a whole number of at least 1, but got 2.0"),
    ("clip_norm", -1.0, "clip_norm must be above 0, or None for no limit, but got -1.0"),
    ("clip_norm", float("nan"), "clip_norm must be above 0, or None for no limit, but got nan"),
    ("clip_norm", "1", "clip_norm must be above 0, or None for no limit, but got '1'"),
    ("amp", "yes", "amp must be True or False, but got 'yes'"),
    ("metrics", {"mae": nn.L1Loss}, "metrics['mae'] must be a function, but got"),
    ("metrics", {3: mae}, "metrics must be functions by name"),
    ("metrics", [mae], "metrics must be functions by name"),
    ("metrics", {"loss": mae}, "a metric cannot be named 'loss', which is what trials are compared on"),
    ("name", 3, "must be a text, but got 3"),
    ("name", "", "must be a text, but got ''"),
]
OF_CLASSES = [
    *BROKEN,
    ("metrics", None, "metrics must be functions by name, such as {'mae': F.l1_loss}, but got None"),
    ("name", None, "the name of a Mine must be a text, but got None"),
    (
        "validation_batch_size",
        0,
        "validation_batch_size must be a whole number of at least 1, or None for four times the batch size",
    ),
]


class Line(Task):
    """A regression of the user's own class."""

    def build_model(self):
        """Return a linear model."""
        return linear_model()

    def splits(self):
        """Return the same data twice."""
        return Splits(Split(*regression_data()), Split(*regression_data()))

    def loss(self, outputs, targets):
        """Return the mean squared error."""
        return nn.functional.mse_loss(outputs, targets)


@pytest.mark.parametrize(("attribute", "value", "message"), OF_CLASSES)
def test_a_class_is_refused_before_its_data_are_read(attribute, value, message):
    """The error names the task, the attribute, the rule, and the value."""

    class Mine(Line):
        def splits(self):
            raise AssertionError("read too early")

    setattr(Mine, attribute, value)
    with pytest.raises(TaskError, match=re.escape(message)):
        load_data(Mine(), 8, torch.device("cpu"))


@pytest.mark.parametrize(("attribute", "value", "message"), BROKEN)
def test_plain_parts_are_refused_where_they_are_given(attribute, value, message):
    """The rules of a class hold for ``from_tensors`` too, at once."""
    with pytest.raises(TaskError, match=re.escape(message)):
        regression(**{attribute: value})


def test_a_class_that_is_named_in_a_file_is_refused_when_it_is_loaded(tmp_path):
    """Before anything is derived from its attributes."""
    file = tmp_path / "mine.py"
    file.write_text("import lrsearch\n\nclass Mine(lrsearch.Task):\n    epochs = 2.5\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"Mine: epochs must be a whole number .* but got 2\.5"):
        load_task(f"{file}:Mine", tmp_path, [f"{file}:Mine"])


@pytest.mark.parametrize(("attribute", "value"), [("name", 3), ("epochs", 2.0), ("metrics", {"loss": mae})])
def test_a_search_begins_with_the_rules(monkeypatch, tmp_path, attribute, value):
    """A task in a program is refused in its own words, and no study is made."""
    monkeypatch.chdir(tmp_path)
    task = type("Mine", (Line,), {attribute: value})()
    with pytest.raises(TaskError, match=r"Mine.* (must|cannot) be"):
        lrsearch.optimize(task, storage="sqlite:///mine.db", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_norm": 1},
        {"clip_norm": np.float64(0.5)},
        {"clip_norm": float("inf")},
        {"metrics": {"mae": nn.L1Loss(), "other": mae}},
        {"accumulate": 3, "amp": True},
    ],
)
def test_what_keeps_the_rules_passes(options):
    """For a class as for plain parts."""
    check_task(regression(**options))
    check_task(type("Mine", (Line,), options)())
