"""A training loop of one's own, run as the trials of a study: it blends pairs of images (mixup).

lrsearch worker --study examples/training_script.toml --command "python examples/training_script.py"

Without a worker, ``python examples/training_script.py --trials 12`` trains one after the other. Either way,
``lrsearch best training_script`` then prints the winner.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lrsearch

STUDY = Path(__file__).with_suffix(".toml")
torch.set_num_threads(1)  # several would spend their time waiting on so small a network
BATCH_SIZE = 32
images, classes = load_digits(return_X_y=True)
inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(classes)
train, valid = (inputs[:1280], targets[:1280]), (inputs[1280:], targets[1280:])


def mixed_loss(model: nn.Module, rows: Tensor) -> Tensor:
    """Return the loss on images that are each blended with another one (Zhang et al. 2018)."""
    others = rows[torch.randperm(len(rows))]
    share = torch.distributions.Beta(0.4, 0.4).sample()
    scores = model(share * train[0][rows] + (1 - share) * train[0][others])
    losses = [nn.functional.cross_entropy(scores, train[1][each]) for each in (rows, others)]
    return share * losses[0] + (1 - share) * losses[1]


def learn(trial, epochs: int) -> None:
    """Train a network with what the trial proposes, and report every epoch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    steps = len(train[0]) // BATCH_SIZE
    optimizer, scheduler = trial.build(model, steps_per_epoch=steps, epochs=epochs)
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(train[0])).split(BATCH_SIZE):
            optimizer.zero_grad()
            mixed_loss(model, rows).backward()
            optimizer.step()
            scheduler.step()
        with torch.no_grad():
            scores = model(valid[0])
            loss = nn.functional.cross_entropy(scores, valid[1])
            accuracy = (scores.argmax(dim=1) == valid[1]).float().mean()
        trial.report(epoch, loss, accuracy=accuracy)  # raises where the trial is pruned


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1)  # a worker runs the script once for each
    parser.add_argument("--epochs", type=int)
    budget = parser.parse_args()
    for _each in range(budget.trials):
        with lrsearch.trial(STUDY) as trial:  # ends without an error where the trial is pruned
            learn(trial, budget.epochs or trial.epochs)
