"""A small GRU that adds the marked numbers of a sequence (Hochreiter & Schmidhuber 1997)."""

import argparse

import torch
from torch import Tensor, nn

import lrsearch

LENGTH = 20


class AddingNetwork(nn.Module):
    """Reads sequences [examples, LENGTH, 2] of (number, mark) and returns one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(2, 24, batch_first=True)
        self.head = nn.Linear(24, 1)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the answers, shape [examples]."""
        return self.head(self.gru(sequences)[0][:, -1]).squeeze(1)


def adding_problem(examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return sequences of random numbers, two of them marked, and the sums of the marked ones."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(examples, LENGTH, generator=generator)
    order = torch.rand(examples, LENGTH, generator=generator).argsort(dim=1)
    marks = (order < 2).float()
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(dim=1)


task = lrsearch.Task.from_tensors(
    AddingNetwork,
    train=adding_problem(4000, seed=0),
    valid=adding_problem(1000, seed=1),
    loss=nn.functional.mse_loss,
    name="adding-gru",
    epochs=10,
    clip_norm=1.0,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int)
    result = lrsearch.optimize(task, optimizer="Adam", **vars(parser.parse_args()))
    print(result)
    print(result.code())
