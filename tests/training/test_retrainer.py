"""Runs outside of a search: each ends as it would alone, in ordinary PyTorch."""

import pytest
import torch
from torch import nn

from lrsearch.errors import TaskError
from lrsearch.retrainings import Run
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks import load_task
from lrsearch.training.data import load_data
from lrsearch.training.eager import EagerArray, build_model, evaluate
from lrsearch.training.retrainer import Retrainer
from lrsearch.training.trainer import TrialSettings

CPU = torch.device("cpu")
EPOCHS = 3
POINT = Hyperparameters(0.1, "LinearLR", warmup_fraction=0.2, optimizer={"momentum": 0.5})
OTHER = Hyperparameters(0.05, "ReduceLROnPlateau", {"patience": 0})
WILD = Hyperparameters(1e6)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Scikit-learn's digits with a small perceptron."""
    return load_task("digits-mlp", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(task):
    """The digits on the CPU."""
    return load_data(task, 32, CPU)


def run(point, seed=0, *, test=False):
    """Return a run."""
    return Run(point.to_point(), seed, EPOCHS, test=test)


def retrained(task, data, runs, lanes=None, optimizer="SGD"):
    """Train runs, and return each one's end, and the epochs of all lanes together."""
    settings = TrialSettings(EPOCHS, optimizer, 0, POINT)
    retrainer = Retrainer(task, data, settings, frozen=(), lanes=lanes, at_most=len(runs))
    epochs = list(retrainer.train(runs))
    ended = [pair for epoch in epochs for pair in epoch.ended]
    ordered = [next(end for mine, end in ended if mine is each) for each in runs]
    return ordered, sum(epoch.trained for epoch in epochs)


def alone(task, data, point, seed):
    """Train one run in ordinary PyTorch; return its epochs and its model's tensors."""
    array = EagerArray(task, data, epochs=EPOCHS, optimizer="SGD", seed=seed)
    array.start(0, point)
    results = [result for _epoch in range(EPOCHS) for result in array.run_epoch()]
    return results, array.state_dict(0)


@pytest.mark.parametrize("lanes", [1, 3, None])
def test_a_run_ends_as_it_would_alone(task, data, lanes):
    """Whatever stands beside it, and however many train at once."""
    runs = [run(point, seed) for seed in (0, 7) for point in (POINT, OTHER)]
    ended, epochs = retrained(task, data, runs, lanes)
    assert epochs == 4 * EPOCHS
    for each, point, seed in zip(ended, [POINT, OTHER] * 2, [0, 0, 7, 7], strict=True):
        results, _state = alone(task, data, point, seed)
        assert each.valid_losses == pytest.approx([result.valid_loss for result in results], rel=1e-4)
        assert each.value == each.valid_losses[-1]
        assert each.metrics == pytest.approx(dict(results[-1].metrics), abs=0.01)
        assert (each.seed, each.diverged, each.reason, each.test) == (seed, False, None, {})


def test_seeds_make_other_runs(task, data):
    """New initial weights and a new order of the batches."""
    ended, _epochs = retrained(task, data, [run(POINT, seed) for seed in range(4)])
    assert len({each.value for each in ended}) == 4


def test_the_test_split_is_read_at_a_runs_end(task, data):
    """By the model that was trained, with all metrics."""
    ((ended,), _epochs) = retrained(task, data, [run(POINT, 5, test=True)])
    _results, state = alone(task, data, POINT, 5)
    model = build_model(task, 5, CPU)
    model.load_state_dict(state)
    expected = evaluate(task, model, data.test(), CPU, 0)
    assert ended.test == pytest.approx(expected, rel=1e-4)
    assert set(ended.test) == {"loss", "accuracy"}


def test_a_task_without_a_test_split_has_no_figures_of_it(data):
    """And is trained all the same."""
    task = small_task()
    own = load_data(task, 8, CPU)
    ((ended,), _epochs) = retrained(task, own, [run(Hyperparameters(0.1), 5, test=True)])
    assert ended.test == {}
    assert len(ended.valid_losses) == EPOCHS
    assert data.test() is not None


def test_a_run_that_diverges_ends_at_once(task, data):
    """And makes no other one wait."""
    ended, epochs = retrained(task, data, [run(WILD), run(POINT), run(WILD, 4)])
    assert [each.diverged for each in ended] == [True, False, True]
    assert ended[0].value == float("inf")
    assert epochs < 3 * EPOCHS


def test_a_run_that_cannot_begin_ends_with_its_reason(task, data):
    """The others are trained."""
    broken = Run({**POINT.to_point(), "lr_scale[nothing.*]": 0.5}, 0, EPOCHS)
    ended, _epochs = retrained(task, data, [broken, run(POINT)])
    assert "nothing.*" in ended[0].reason
    assert ended[0].value == float("inf")
    assert ended[1].reason is None


def test_a_model_that_fails_in_training_ends_its_runs_with_the_reason():
    """As in a search."""
    task = small_task(Failing)
    data = load_data(task, 8, CPU)
    ended, _epochs = retrained(task, data, [run(Hyperparameters(0.1)), run(Hyperparameters(0.2))])
    assert [each.reason for each in ended] == ["RuntimeError: out of order"] * 2


def test_a_test_split_that_does_not_fit_is_found_before_the_training():
    """With what the model said of it."""
    task = small_task(test=(torch.zeros(8, 5), torch.zeros(8, 1)))
    with pytest.raises(TaskError, match="cannot be evaluated on the task's test split: RuntimeError"):
        retrained(task, load_data(task, 8, CPU), [run(Hyperparameters(0.1), test=True)])


class Failing(nn.Linear):
    """A model that works until it has been called often."""

    calls = 0

    def forward(self, inputs):
        """Fail at last."""
        Failing.calls += 1
        if Failing.calls > 20:
            raise RuntimeError("out of order")
        return super().forward(inputs)


def small_task(layer=nn.Linear, test=None):
    """Return a regression; without a test split unless one is given."""
    import lrsearch

    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    return lrsearch.Task.from_tensors(
        lambda: layer(3, 1), (x[:48], y[:48]), (x[48:], y[48:]), test, loss=nn.functional.mse_loss
    )
