"""Exported modules for tests: made of a short training, and run as a user would."""

import contextlib
import io
import runpy
import sys
import warnings
from dataclasses import replace
from unittest import mock

import torch

from lrsearch.review.exported_module import Export
from lrsearch.review.winner import Winner
from lrsearch.schedules import Schedule
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from
from lrsearch.training.data import ResidentData
from lrsearch.training.logged_run import LoggedRun
from tests.tasks.plain import regression

EPOCHS = 5


def network():
    """Return three layers, one of them with a norm."""
    norm = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    return torch.nn.Sequential(torch.nn.Linear(3, 4), norm, torch.nn.Linear(4, 1))


def specification(optimizer="SGD", **keys):
    """Return the resolved specification of a study of digits, which lends its name and numbers."""
    content = {
        "name": "exported",
        "task": "digits-mlp",
        "trials": 9,
        "epochs": EPOCHS,
        "batch_size": 8,
        **keys,
    }
    return resolved(spec_from({**content, "optimizer": {"name": optimizer}}, "test"))


def export_of(point, optimizer="SGD", name="exported", **options):
    """Return what an exported module is made of: a point that was trained on a small regression.

    Args:
        point: its hyperparameters.
        optimizer: class in ``torch.optim``.
        name: of the study.
        options: of the task.
    """
    task = regression(model_factory=network, **options)
    data = ResidentData(task, 8, torch.device("cpu"))
    run = LoggedRun(task, data, optimizer, Schedule(point, EPOCHS, data.steps_per_epoch), 0)
    list(run.epochs())
    spec = specification(optimizer).model_copy(update={"name": name})
    found = Winner("trial 4", 4, point, 0.5)
    return Export(spec, found, run.trajectory(), None, {"torch": "2.13"}, {"python": "3.12"}, "2026-01-02")


def stretched(export, trajectory):
    """Return an export for a run of another length."""
    run = export.trajectory
    return replace(export, trajectory=trajectory, searched=(run.epochs, run.steps_per_epoch))


def checked(text, folder, argument="--check"):
    """Run a module as a program, and return its exit code and what it printed, errors behind."""
    path = folder / "exported.py"
    path.write_text(text, encoding="utf-8")
    out = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [str(path), argument]),
        contextlib.redirect_stdout(out),
        warnings.catch_warnings(),
    ):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as left:
            return left.code, out.getvalue()
    raise AssertionError("a program that checks leaves with a code")
