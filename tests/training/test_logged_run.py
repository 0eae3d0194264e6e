"""A training that logs its learning rates: the reference trainer's results, and what it saw."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrsearch.errors import DivergenceError, TaskError
from lrsearch.schedules import KINDS, Hyperparameters, Schedule
from lrsearch.tasks.task import Task
from lrsearch.training.data import ResidentData
from lrsearch.training.eager import EagerArray
from lrsearch.training.logged_run import LoggedRun, loop_of, one_parameter, scheduled
from lrsearch.trajectory import NUMBERS, Loop, proving_updates
from tests.tasks.plain import mae, regression

CPU = torch.device("cpu")
EPOCHS = 4


def network():
    """Return two layers with what is random in training."""
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1))


TASK = regression(model_factory=network, metrics={"mae": mae}, clip_norm=1.0)
DATA = ResidentData(TASK, 8, CPU)
STEPS = DATA.steps_per_epoch


def logged(point, optimizer="SGD", seed=3):
    """Train a point to its end, and return the run and its epochs."""
    run = LoggedRun(TASK, DATA, optimizer, Schedule(point, EPOCHS, STEPS), seed, trial=7)
    return run, list(run.epochs())


def reference(point, optimizer="SGD", seed=3):
    """Return the epochs of the same trial from the reference trainer, and its parameters."""
    array = EagerArray(TASK, DATA, epochs=EPOCHS, optimizer=optimizer, seed=seed)
    array.start(7, point)
    results = [result for _epoch in range(EPOCHS) for result in array.run_epoch()]
    return results, array.state_dict(7)


def points():
    """Return a point of every kind, and points with groups."""
    kinds = [
        Hyperparameters(0.05, name, {}, 0.2 if kind.takes_warmup else 0.0) for name, kind in KINDS.items()
    ]
    groups = Hyperparameters(0.05, "WSD", {}, 0.2, {"momentum": 0.5}, {"0.*": 0.1}, 0.5, ("2.bias",))
    return [*kinds, groups]


@pytest.mark.parametrize("point", points(), ids=lambda point: point.kind + "-groups" * bool(point.frozen))
def test_a_logged_run_is_the_trial_that_the_reference_trainer_trains(point):
    """Losses, metrics, learning rates and weights, all kinds, with dropout and clipping."""
    run, epochs = logged(point)
    expected, weights = reference(point)
    for mine, theirs in zip(epochs, expected, strict=True):
        assert replace(mine, seconds=0.0, lr=0.0) == replace(theirs, seconds=0.0, lr=0.0)
        assert mine.lr == pytest.approx(theirs.lr, rel=1e-12)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize("optimizer", ["AdamW", "LBFGS", "SGDScheduleFree"])
def test_so_it_is_under_other_optimizers(optimizer):
    """Also where the step takes a closure, or the average of the weights is judged."""
    point = Hyperparameters(0.01, "CosineAnnealingLR")
    _run, epochs = logged(point, optimizer)
    expected, _weights = reference(point, optimizer)
    assert [each.valid_loss for each in epochs] == [each.valid_loss for each in expected]


def test_the_log_has_the_learning_rate_of_every_update_and_group():
    """In proportion to the groups' scales, from the first to the last."""
    point = Hyperparameters(0.05, "LinearLR", {"end_factor": 0.1}, 0.25, {}, {"0.*": 0.1})
    run, _epochs = logged(point)
    expected = Schedule(point, EPOCHS, STEPS).lrs(np.arange(EPOCHS * STEPS, dtype=np.float64))
    assert run.lrs.shape == (EPOCHS * STEPS, 2)
    np.testing.assert_allclose(run.lrs, np.outer(expected, [0.1, 1.0]), rtol=1e-12)


def test_a_trajectory_says_what_was_trained_and_how():
    """Groups by parameter, frozen ones in none, losses, and what the loop did beside."""
    point = Hyperparameters(0.05, "ReduceLROnPlateau", lr_scales={"0.*": 0.1}, frozen=("2.bias",))
    run, epochs = logged(point)
    trajectory = run.trajectory()
    assert [(each.name, each.dimensions, each.trainable, each.group) for each in trajectory.parameters] == [
        ("0.weight", 2, True, 0),
        ("0.bias", 1, True, 0),
        ("2.weight", 2, True, 1),
        ("2.bias", 1, True, None),
    ]
    assert trajectory.valid_losses == tuple(each.valid_loss for each in epochs)
    assert trajectory.loop == Loop(clip_norm=1.0)
    assert (trajectory.epochs, trajectory.steps_per_epoch) == (EPOCHS, STEPS)
    for number, lrs in trajectory.lrs.items():
        assert lrs == tuple(run.lrs[number])


def test_another_seed_is_another_training():
    """Other weights and another order."""
    point = Hyperparameters(0.05)
    assert logged(point)[1][-1].valid_loss == logged(point)[1][-1].valid_loss
    assert logged(point)[1][-1].valid_loss != logged(point, seed=4)[1][-1].valid_loss


@pytest.mark.parametrize("lr", [50.0, 1e30])
def test_a_training_that_diverges_ends_with_what_it_came_to(lr):
    """The epoch is told, then it is an error with both losses."""
    free = regression(model_factory=network)
    run = LoggedRun(free, ResidentData(free, 8, CPU), "SGD", Schedule(Hyperparameters(lr), 4, STEPS), 0)
    epochs = run.epochs()
    assert next(epochs).epoch == 1
    with pytest.raises(DivergenceError, match="diverged in epoch 1 of 4"):
        next(epochs)


def test_what_the_tasks_code_raises_is_told_with_its_epoch():
    """As a mistake of the task, not as one of lrsearch."""

    class Breaks(Task):
        calls = 0

        def splits(self):
            return TASK.splits()

        def build_model(self):
            return network()

        def loss(self, outputs, targets):
            self.calls += 1
            if self.calls > 20:
                raise RuntimeError("out of luck")
            return torch.nn.functional.mse_loss(outputs, targets)

    run = LoggedRun(Breaks(), DATA, "SGD", Schedule(Hyperparameters(0.01), EPOCHS, STEPS), 0)
    with pytest.raises(TaskError, match=r"(?s)Breaks failed in epoch \d.*out of luck"):
        list(run.epochs())


@pytest.mark.parametrize("point", points(), ids=lambda point: point.kind + "-groups" * bool(point.frozen))
def test_without_training_the_same_learning_rates_are_logged(point):
    """An optimizer and its scheduler alone, told the same losses."""
    run, epochs = logged(point)
    losses = [each.valid_loss for each in epochs]
    driven = scheduled(network(), "SGD", Schedule(point, EPOCHS, STEPS), losses, loop_of(TASK))
    assert driven == run.trajectory()


def test_a_stretched_run_needs_no_task():
    """One matrix stands for the model."""
    schedule = Schedule(Hyperparameters(0.1, "CosineAnnealingLR", {}, 0.1), 90, 391)
    trajectory = scheduled(one_parameter(), "Muon", schedule, (), Loop())
    assert trajectory.epochs == 90
    for number, (lr,) in trajectory.lrs.items():
        assert lr == pytest.approx(schedule.lrs(np.array([float(number)]))[0], rel=1e-12)


@pytest.mark.parametrize(
    ("epochs", "steps", "groups"), [(10, 1562, 1), (1, 1, 1), (90, 391, 1), (500, 20, 3), (9, 7, 60)]
)
def test_the_updates_that_prove_a_schedule_are_few_and_stand_at_the_boundaries(epochs, steps, groups):
    """First and last of the run and of its warm-up, of the epochs where they fit, and each bend."""
    cut = epochs // 2 * steps
    lrs = np.outer(np.where(np.arange(epochs * steps) < cut, 1.0, 0.1), np.ones(groups))
    found = proving_updates(lrs, steps, warmup_steps := steps // 2)
    total = epochs * steps
    assert found == sorted(set(found))
    assert len(found) <= max(NUMBERS // groups, 40) + 1
    assert {0, total - 1} <= set(found)
    assert {warmup_steps - 1, warmup_steps} <= set(found) or warmup_steps == 0
    assert {cut - 1, cut} <= set(found) or cut == 0
    if epochs * 2 * groups < NUMBERS // 2:
        assert {
            step for epoch in range(epochs) for step in (epoch * steps, epoch * steps + steps - 1)
        } <= set(found)
