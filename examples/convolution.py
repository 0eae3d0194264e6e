"""A convolutional network with batch normalisation and dropout, on scikit-learn's 8 x 8 digits."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

import lrsearch


def network() -> nn.Module:
    """Return a network for images of 8 x 8 pixels."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 10)),
    )


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the share of right answers."""
    return (outputs.argmax(dim=1) == targets).float().mean()


images, classes = load_digits(return_X_y=True)
inputs = torch.tensor(images.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
targets = torch.tensor(classes)
task = lrsearch.Task.from_tensors(
    network,
    train=(inputs[:1300], targets[:1300]),
    valid=(inputs[1300:], targets[1300:]),
    loss=nn.functional.cross_entropy,
    metrics={"accuracy": accuracy},
    name="digits-convolution",
    epochs=8,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int)
    result = lrsearch.optimize(task, **vars(parser.parse_args()))
    print(result)
    print(result.code())
