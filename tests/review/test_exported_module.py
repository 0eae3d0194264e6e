"""Exported modules: valid Python that trains as the trial did, and whose self-test can fail."""

import ast
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.retrainings import Candidate
from lrsearch.review.exported_module import exported_module
from lrsearch.review.verdict import Estimate, Standing
from lrsearch.schedules import KINDS, Hyperparameters, Schedule
from lrsearch.service.logged_runs import stretched_trajectory
from lrsearch.spec import OPTIMIZERS
from lrsearch.training.data import ResidentData
from lrsearch.training.devices import threads_for
from lrsearch.training.eager import build_model, validate
from tests.review.exports import EPOCHS, checked, export_of, network, specification, stretched
from tests.tasks.plain import regression

CPU = torch.device("cpu")
OPTIMIZER_KNOBS = {"SGD": {"momentum": 0.5}, "AdamW": {}, "LBFGS": {"max_iter": 1}, "AdamWScheduleFree": {}}
GROUPS = {"lr_scales": {"1.*": 0.1, "*.bias": 0.5}, "layer_decay": 0.5, "frozen": ("0.weight",)}
WARMUPS = [
    (name, warmup) for name, kind in KINDS.items() for warmup in (0.0, 0.3) if kind.takes_warmup or not warmup
]


def knobs_of(name):
    """Return knobs with which a kind does something in a few epochs."""
    return {"ReduceLROnPlateau": {"patience": 0, "threshold": 0.4, "factor": 0.5}}.get(name, {})


def runs(text, folder):
    """Check that a module's self-test passes and says so."""
    code, printed = checked(text, folder)
    assert code == 0, printed
    assert re.fullmatch(r"OK: at \d+ of \d+ updates the learning rates are the logged ones.\n", printed)


@pytest.mark.parametrize(("name", "warmup"), WARMUPS)
@pytest.mark.parametrize(
    "optimizer",
    [
        "SGD",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("AdamW", "LBFGS", "AdamWScheduleFree")),
    ],
)
def test_the_self_test_of_every_kind_passes(name, warmup, optimizer, tmp_path):
    """With and without warm-up, in steps and in epochs, with a closure where the optimizer wants one."""
    point = Hyperparameters(0.02, name, knobs_of(name), warmup, OPTIMIZER_KNOBS[optimizer])
    runs(exported_module(export_of(point, optimizer)), tmp_path)


@pytest.mark.parametrize(("name", "warmup"), WARMUPS)
def test_so_it_does_with_groups_that_keep_their_proportions(name, warmup, tmp_path):
    """Every parameter's learning rate, by name; frozen ones are in no group."""
    text = exported_module(export_of(Hyperparameters(0.02, name, knobs_of(name), warmup, **GROUPS)))
    assert "'0.weight': (2, True, None)," in text
    runs(text, tmp_path)


@pytest.mark.parametrize(
    ("point", "optimizer"),
    [
        (Hyperparameters(0.02, "WSD", layer_decay=0.7), "AdamW"),
        (Hyperparameters(0.02, "StepLR", frozen=("*.bias",)), "SGD"),
        (Hyperparameters(0.02, "LinearLR", optimizer={"max_iter": 1}, frozen=("*.bias",)), "LBFGS"),
        (Hyperparameters(0.02, "LinearLR", lr_scales={"0.*": 0.0}), "SGD"),
    ],
)
def test_groups_of_one_sort_alone_work_too(point, optimizer, tmp_path):
    """Layer decay, frozen layers, and a group that stands still."""
    runs(exported_module(export_of(point, optimizer)), tmp_path)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_is_exported(optimizer, tmp_path):
    """Also those that want matrices or sparse gradients: no gradient reaches them in the check."""
    export = export_of(Hyperparameters(0.02, "CosineAnnealingLR", {}, 0.3))
    name = export.spec.optimizer.name
    spec = specification(optimizer) if optimizer != name else export.spec
    runs(exported_module(replace(export, spec=spec)), tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"clip_norm": 0.5}, {"accumulate": 3}, {"amp": True}, {"clip_norm": 0.5, "accumulate": 2, "amp": True}],
    ids=str,
)
@pytest.mark.parametrize("optimizer", ["SGD", "LBFGS"])
def test_the_loop_does_what_the_task_asks_for(options, optimizer, tmp_path):
    """Trained with the module's own functions on the same data, the model ends as the trial did."""
    point = Hyperparameters(0.02, "LinearLR", {}, 0.2, OPTIMIZER_KNOBS[optimizer])
    export = export_of(point, optimizer, **options)
    text = exported_module(export)
    runs(text, tmp_path)
    losses = trained_losses(text, options)
    assert losses == pytest.approx(export.trajectory.valid_losses, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "warmup"), [("ReduceLROnPlateau", 0.3), ("StepLR", 0.3), ("WSD", 0.0), ("constant", 0.0)]
)
@pytest.mark.parametrize("groups", [{}, GROUPS], ids=["plain", "groups"])
def test_training_with_the_module_is_the_trial(name, warmup, groups):
    """Its validation losses are those that were logged, epoch by epoch."""
    export = export_of(Hyperparameters(0.02, name, knobs_of(name), warmup, {"momentum": 0.5}, **groups))
    losses = trained_losses(exported_module(export), {})
    assert losses == pytest.approx(export.trajectory.valid_losses, rel=1e-6)


def trained_losses(text, options):
    """Train with the functions of a module as its user would, on the data of the trial; return the losses."""
    task = regression(model_factory=network, **options)
    data = ResidentData(task, 8, CPU)
    model = build_model(task, 0, CPU)

    class Batches:
        epoch = 0

        def __len__(self):
            return data.steps_per_epoch * task.accumulate

        def __iter__(self):
            self.epoch += 1
            return (batch for batches in data.updates(0, self.epoch - 1) for batch in batches)

    losses, scope = [], {"__name__": "exported"}
    with warnings.catch_warnings(), threads_for(model, CPU):
        exec(compile(text, "exported", "exec"), scope)

        def validated(model):
            losses.append(validate(task, model, data, 0)[0])
            return losses[-1]

        scope["train"](
            model, scope["build_optimizer"](model), Batches(), task.training_step, validated, losses.count
        )
    return losses


def test_training_with_epochs_of_another_length_is_refused():
    """The schedule would end too early or too late."""
    scope = {"__name__": "exported"}
    exec(exported_module(export_of(Hyperparameters(0.02))), scope)
    model = network()
    with pytest.raises(ValueError, match="an epoch must have 8 updates, but got 9"):
        scope["train"](model, scope["build_optimizer"](model), [None] * 9, None, None)


# The self-test can fail.


CHANGES = {
    "a logged number": (r"\n    0: 0\.0\d", "\n    0: 0.9"),
    "the learning rate": (r"lr=0\.02", "lr=0.021"),
    "the length of the warm-up": (r"total_iters=11", "total_iters=12"),
    "the length of the decay": (r"total_iters=29", "total_iters=28"),
    "the place of the step": (r"            scheduler\.step\(\)\n", ""),
    "the number of epochs": (r"EPOCHS = 5", "EPOCHS = 6"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_self_test_fails_when_something_is_changed(change, tmp_path):
    """With exit code 1 and what differs."""
    text = exported_module(export_of(Hyperparameters(0.02, "LinearLR", {"end_factor": 0.1}, 0.3)))
    changed, times = re.subn(*CHANGES[change], text, count=1)
    assert times == 1
    code, printed = checked(changed, tmp_path)
    assert code == 1
    assert "differ." in printed or "6 updates" in printed or "48 updates were made, but 40" in printed


@pytest.mark.parametrize(
    ("pattern", "into"),
    [
        (r"'1\.\*': 0\.1", "'1.*': 0.2"),
        (r"0\.5 \*\* len", "0.6 ** len"),
        (r"\['0\.weight'\]", "['0.bias']"),
        (r"1, True, \d\)", "1, True, None)"),
    ],
)
def test_the_self_test_fails_when_groups_are_changed(pattern, into, tmp_path):
    """A scale, the decay, what is frozen, and what was logged of it."""
    text = exported_module(export_of(Hyperparameters(0.02, "LinearLR", **GROUPS)))
    changed, times = re.subn(pattern, into, text, count=1)
    assert times == 1
    code, printed = checked(changed, tmp_path)
    assert code == 1
    assert "learning rates differ." in printed


def test_the_self_test_fails_when_the_plateau_is_changed(tmp_path):
    """Because the logged losses are given to PyTorch's own class."""
    text = exported_module(
        export_of(Hyperparameters(0.02, "ReduceLROnPlateau", knobs_of("ReduceLROnPlateau"), 0.3))
    )
    runs(text, tmp_path)
    assert checked(text.replace("patience=0", "patience=50"), tmp_path)[0] == 1
    assert checked(text.replace("scheduler.step(valid_loss)", "pass"), tmp_path)[0] == 1


def test_without_the_option_it_says_what_it_is_for(tmp_path):
    """And fails, since nothing was asked for."""
    code, printed = checked(exported_module(export_of(Hyperparameters(0.02))), tmp_path, argument="--chekc")
    assert "--check" in code
    assert printed == ""


WITHOUT_LRSEARCH = """import runpy, sys
sys.modules["lrsearch"] = None  # whoever imports it, fails
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    "program",
    [["-c", WITHOUT_LRSEARCH], pytest.param([], marks=pytest.mark.slow)],
    ids=["without lrsearch", "as a program"],
)
def test_it_runs_in_a_process_that_has_pytorch_alone(program, tmp_path):
    """A schedule with warm-up in groups, warnings as errors."""
    path = tmp_path / "exported.py"
    path.write_text(exported_module(export_of(Hyperparameters(0.02, "CosineAnnealingLR", {}, 0.3, **GROUPS))))
    arguments = [sys.executable, "-I", "-W", "error", *program, str(path), "--check"]
    run = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("OK: ")


# What is said


ODD = st.text(st.sampled_from("\"'\\\n\r\t #{}\x00\x0c\u2028é漢x") | st.characters(), max_size=40)


@settings(max_examples=60)
@given(name=ODD | st.just('"""') | st.just("'''\nimport os"), lines=st.integers(0, 3))
def test_any_name_of_a_study_leaves_valid_python(name, lines):
    """Quotes, line ends and what cannot be seen are written out; nothing but comments changes."""
    text = exported_module(replace(PLAIN, spec=PLAIN.spec.model_copy(update={"name": name + "\n" * lines})))
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(exported_module(PLAIN)))


PLAIN = export_of(Hyperparameters(0.02, "StepLR"))


def test_the_evidence_stands_at_the_top():
    """Study, trial, loss, versions and date; that it was not confirmed, with the command that would."""
    text = exported_module(PLAIN)
    said = text.replace("\n# ", " ")
    for part in (
        "Study 'exported': task 'digits-mlp', 9 trials of up to 5 epochs",
        "Trial 4: SGD, lr 0.02, StepLR",
        "Validation loss in the search: 0.5.",
        "Not confirmed on fresh seeds",
        "To confirm it: lrsearch confirm exported",
        "Exported on 2026-01-02 with torch 2.13. The study began with python 3.12.",
        f"which came to the validation loss {PLAIN.trajectory.valid_losses[-1]:.4g}.",
    ):
        assert part in said
    assert len(text.splitlines()) < 150
    assert max(map(len, text.splitlines())) <= 110


def test_a_confirmed_winner_says_so_with_its_interval():
    """On how many seeds."""
    candidate = Candidate("trial 4", {}, 4, 0.5)
    standing = Standing(candidate, 0.5, Estimate(0.52, 0.51, 0.53, 8), {}, 0)
    found = replace(PLAIN.winner, standing=standing)
    text = exported_module(replace(PLAIN, winner=found))
    assert "# Validation loss confirmed on 8 fresh seeds: 0.52 (0.51 to 0.53)" in text
    assert "Not confirmed" not in text
    lost = replace(found, standing=replace(standing, valid_loss=None, lost=1))
    assert "diverged or failed" in exported_module(replace(PLAIN, winner=lost))


@pytest.mark.parametrize(("name", "warmup"), WARMUPS)
@pytest.mark.parametrize(
    "groups", [{}, pytest.param(GROUPS, marks=pytest.mark.slow)], ids=["plain", "groups"]
)
def test_a_stretched_schedule_passes_its_own_self_test(name, warmup, groups, tmp_path):
    """For a longer run with other epochs; what was not trained is not called so."""
    point = Hyperparameters(0.02, name, knobs_of(name), warmup, **groups)
    task = regression(model_factory=network)
    run = stretched_trajectory(specification(), task, Schedule(point, 23, 6), (0.9, 0.5, 0.4, 0.39, 0.389))
    found = replace(PLAIN.winner, hyperparameters=point)
    text = exported_module(replace(stretched(PLAIN, run), winner=found))
    assert "EPOCHS = 23\nSTEPS_PER_EPOCH = 6  # a DataLoader needs drop_last=True\n" in text
    assert f"the study trained {EPOCHS} epochs of 8 updates" in text
    assert "is not proven" in text.replace("\n# ", " ")
    assert "no training of this length was made" in text
    runs(text, tmp_path)
