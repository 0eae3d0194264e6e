"""Fine-tuning with per-layer learning rates: a network that knows the digits 0 to 4 learns 5 to 9.

Two searches of equal budget are compared: one learning rate for all layers, and a searched factor per layer.
"""

import argparse
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lrsearch

TRAINING_IMAGES = 60  # of the new digits; the other 836 validate
FACTOR = {"low": 0.01, "high": 1.0, "log": True}
PER_LAYER = {"body.0.*": {"lr_scale": FACTOR}, "body.3.*": {"lr_scale": FACTOR}}


class Network(nn.Module):
    """Two convolutions and a head for five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        )
        self.head = nn.Linear(128, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores, shape [examples, 5]."""
        return self.head(self.body(images))


@cache
def digits(first: int) -> tuple[Tensor, Tensor]:
    """Return images and classes of five digits, counted from the first of them."""
    images, classes = load_digits(return_X_y=True)
    chosen = (classes >= first) & (classes < first + 5)
    inputs = torch.tensor(images[chosen].reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    return inputs, torch.tensor(classes[chosen] - first)


@cache
def pretrained_body() -> dict[str, Tensor]:
    """Train a network on the digits 0 to 4 and return the weights of its body."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, (inputs, targets) = Network(), digits(first=0)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _epoch in range(10):
            for rows in torch.randperm(len(inputs)).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
                optimizer.step()
    return model.body.state_dict()


class FineTuning(lrsearch.Task):
    """Learns the digits 5 to 9 with the body that the digits 0 to 4 have formed."""

    name = "fine-tuning"
    batch_size = 20
    epochs = 15

    def build_model(self) -> nn.Module:
        """Return the trained body under a fresh head."""
        model = Network()
        model.body.load_state_dict(pretrained_body())
        return model

    def splits(self) -> lrsearch.Splits:
        """Return few images to learn from, and many to compare trials on."""
        inputs, targets = digits(first=5)
        train, valid = slice(TRAINING_IMAGES), slice(TRAINING_IMAGES, None)
        return lrsearch.Splits(
            lrsearch.Split(inputs[train], targets[train]), lrsearch.Split(inputs[valid], targets[valid])
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return nn.functional.cross_entropy(outputs, targets)


task = FineTuning()

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int)
    budget = vars(parser.parse_args())
    one_rate = lrsearch.optimize(task, optimizer="Adam", **budget)
    per_layer = lrsearch.optimize(task, optimizer="Adam", groups=PER_LAYER, **budget)
    print("One rate for all layers:", one_rate, "A factor per layer:", per_layer, sep="\n")
    print(per_layer.code())
