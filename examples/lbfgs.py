"""L-BFGS, which takes a closure: logistic regression of scikit-learn's digits on whole batches."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

import lrsearch

images, classes = load_digits(return_X_y=True)
inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(classes)
task = lrsearch.Task.from_tensors(
    lambda: nn.Linear(64, 10),
    train=(inputs[:1200], targets[:1200]),
    valid=(inputs[1200:], targets[1200:]),
    loss=nn.functional.cross_entropy,
    name="digits-logistic",
    batch_size=1200,
    epochs=10,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int)
    optimizer = {
        "name": "LBFGS",
        "max_iter": {"low": 2, "high": 10},
        "line_search_fn": ["none", "strong_wolfe"],
    }
    result = lrsearch.optimize(task, optimizer=optimizer, **vars(parser.parse_args()))
    print(result)
    print(result.code())
