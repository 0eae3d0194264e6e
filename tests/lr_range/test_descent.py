"""The descent of a net that really is unstable on its way."""

import pytest
import torch
from torch import nn

import lrsearch


def net():
    """Return a perceptron with batch normalization."""
    return nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))


@pytest.fixture
def regression():
    """Return a task whose loss falls from 27 to 2, spikes near lr 0.17 in every seed, and comes back."""
    x = torch.rand(600, 8, generator=torch.Generator().manual_seed(0))
    y = torch.sin(3 * x).sum(1, keepdim=True)
    train, valid = (x[:500], y[:500]), (x[500:], y[500:])
    return lrsearch.Task.from_tensors(net, train=train, valid=valid, loss=nn.functional.mse_loss, epochs=5)


def test_the_descent_of_an_unstable_net_ends_before_its_spike(regression, tmp_path):
    """The way back from it is steeper than the descent, and was suggested for it."""
    found = lrsearch.range_test(regression, device="cpu", storage=f"sqlite:///{tmp_path / 'lrsearch.db'}")
    highest = [max(lane.losses[145:160]) for lane in found.test.lanes]
    assert min(highest) > 10
    assert 1e-4 < found.zones.falling.low < found.zones.falling.high < 0.15
    rates = {rule.rule: rule.lr for rule in found.suggestions.rules}
    assert rates["steepest"] == pytest.approx(2.5e-3, rel=0.5)
    assert max(rates.values()) < 0.05
