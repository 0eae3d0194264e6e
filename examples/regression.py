"""A regression on a table: how far diabetes progresses in a year (442 patients, from scikit-learn)."""

import argparse

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int)
    result = lrsearch.optimize(task, **vars(parser.parse_args()))
    print(result)
    print(result.code())
