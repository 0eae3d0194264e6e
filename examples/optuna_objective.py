"""An Optuna objective of one's own, in which lrsearch suggests the learning rate and its schedule."""

import argparse

import optuna
import torch
from sklearn.datasets import load_digits
from torch import nn

import lrsearch

torch.set_num_threads(1)  # several would spend their time waiting on so small a network
BATCH_SIZE = 32
images, classes = load_digits(return_X_y=True)
inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(classes)
train, valid = (inputs[:1280], targets[:1280]), (inputs[1280:], targets[1280:])


def objective(trial: optuna.Trial, epochs: int) -> float:
    """Train a network whose width is searched beside the learning rate; return its validation loss."""
    torch.manual_seed(0)
    width = trial.suggest_int("width", 8, 64, log=True)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    steps = len(train[0]) // BATCH_SIZE
    suggested = lrsearch.suggest_schedule(trial, epochs=epochs, steps_per_epoch=steps, optimizer="Adam")
    optimizer, scheduler = suggested.build(model)
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(train[0])).split(BATCH_SIZE):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(train[0][rows]), train[1][rows]).backward()
            optimizer.step()
            scheduler.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(valid[0]), valid[1]).item()
        scheduler.report(loss)  # for schedules that follow the validation loss
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    budget = parser.parse_args()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: objective(trial, budget.epochs), n_trials=budget.trials)
    print(f"best trial {study.best_trial.number}, validation loss {study.best_value:.4g}")
    print(study.best_params)
