"""Small tasks of many forms, and data sets, that tests train."""

import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from lrsearch.tasks.task import Task


def regression_data(examples=64, seed=0):
    """Return inputs [examples, 3] and targets [examples, 1] of a linear function with noise."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 3, generator=generator)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1 * torch.randn(
        examples, 1, generator=generator
    )
    return inputs, targets


def linear_model():
    """Return a model of three inputs and one output."""
    return nn.Linear(3, 1)


def mae(outputs, targets):
    """Return the mean absolute error."""
    return (outputs - targets).abs().mean()


def regression(**options):
    """Return a regression made from tensors."""
    options = {
        "loss": nn.functional.mse_loss,
        "train": regression_data(),
        "valid": regression_data(40, seed=1),
        **options,
    }
    return Task.from_tensors(options.pop("model_factory", linear_model), **options)


class Pairs(Dataset):
    """A data set of (inputs, target) in the form that a function of (x, y) gives them."""

    def __init__(self, inputs, targets, form=lambda x, y: (x, y)):
        self.inputs, self.targets, self.form = inputs, targets, form
        self.reads = 0

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        self.reads += 1
        return self.form(self.inputs[index], self.targets[index])


class Noisy(Dataset):
    """Augmentation that draws from all three global generators."""

    def __init__(self, examples=24):
        self.examples = examples

    def __len__(self):
        return self.examples

    def __getitem__(self, index):
        noise = [torch.rand(()).item(), np.random.rand(), random.random()]
        return torch.tensor([float(index), *noise]), torch.tensor([float(index)])


class Sequences(Dataset):
    """Sequences of two to seven numbers; the target is their sum."""

    def __init__(self, examples=48, seed=0):
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(2, 8, (examples,), generator=generator).tolist()
        self.items = [torch.randn(length, 1, generator=generator) for length in lengths]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index], self.items[index].sum()


def padded(examples):
    """Return a batch of sequences: inputs ``{"values": [n, longest, 1], "lengths": [n]}``, targets [n]."""
    values, targets = zip(*examples, strict=True)
    lengths = torch.tensor([len(value) for value in values])
    inputs = {"values": nn.utils.rnn.pad_sequence(list(values), batch_first=True), "lengths": lengths}
    return inputs, torch.stack(targets)


class SequenceModel(nn.Module):
    """A GRU that reads each sequence up to its end."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(1, 8, batch_first=True)
        self.output = nn.Linear(8, 1)

    def forward(self, values, lengths):
        """Return one number per sequence."""
        states, _last = self.recurrent(values)
        return self.output(states[torch.arange(len(values)), lengths - 1]).squeeze(1)
