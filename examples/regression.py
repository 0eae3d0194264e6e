"""A regression on a table: how far diabetes progresses in a year (442 patients, from scikit-learn)."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

import lrsearch


def network() -> nn.Module:
    """Return a small perceptron for ten columns."""
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))


table, progression = load_diabetes(return_X_y=True, scaled=True)
inputs = torch.tensor(table / table.std(axis=0), dtype=torch.float32)
targets = torch.tensor((progression - progression.mean()) / progression.std(), dtype=torch.float32)
task = lrsearch.Task.from_tensors(
    network,
    train=(inputs[:320], targets[:320]),
    valid=(inputs[320:], targets[320:]),
    loss=nn.functional.mse_loss,
    name="diabetes",
    epochs=20,
)

if __name__ == "__main__":
    result = lrsearch.optimize(task, trials=20)
    print(result)
    print(result.code())
