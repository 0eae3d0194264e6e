"""The networks have the shapes that their names promise."""

import pytest
import torch
from torch import nn

from lrsearch.tasks.models import lenet, perceptron
from lrsearch.tasks.shipped import MODELS

PARAMETERS = {
    "mnist-mlp": (784 + 1) * 64 + (64 + 1) * 32 + (32 + 1) * 10,
    "mnist-mlp-wide": (784 + 1) * 256 + (256 + 1) * 128 + (128 + 1) * 10,
    "mnist-cnn": 61_706,  # LeNet-5's count when each map of its third layer sees all six before
    "fashion-mnist-mlp": 52_650,
    "digits-mlp": (64 + 1) * 32 + (32 + 1) * 10,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_parameters_of_its_layers(name: str) -> None:
    """The number of parameters is that of the layers written out."""
    assert sum(parameter.numel() for parameter in MODELS[name]().parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_one_score_per_class(name: str) -> None:
    """Images with one channel become ten scores each, of either sign."""
    side = 8 if name == "digits-mlp" else 28
    torch.manual_seed(0)
    outputs = MODELS[name]()(torch.randn(50, 1, side, side))
    assert outputs.shape == (50, 10)
    assert (outputs < 0).any()


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_a_model_learns(name: str) -> None:
    """A backward pass reaches every parameter."""
    side = 8 if name == "digits-mlp" else 28
    torch.manual_seed(0)
    model = MODELS[name]()
    model(torch.randn(50, 1, side, side)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_a_model_is_fresh_and_follows_the_seed() -> None:
    """Two calls give different weights; the same seed gives the same again."""
    torch.manual_seed(1)
    first, second = (perceptron(4, 3, 2)[1].weight for _ in range(2))
    torch.manual_seed(1)
    again = perceptron(4, 3, 2)[1].weight
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_perceptron_of_two_widths_is_linear() -> None:
    """Without hidden units there is one linear layer, and no ReLU after it."""
    assert [type(layer) for layer in perceptron(4, 2)] == [nn.Flatten, nn.Linear]


def test_lenet_has_the_map_sizes_of_the_paper() -> None:
    """Pooling leaves 6 maps of 14 x 14, then 16 of 5 x 5 (figure 2 of the paper)."""
    maps, shapes = torch.zeros(1, 1, 28, 28), []
    for layer in lenet():
        maps = layer(maps)
        if isinstance(layer, nn.MaxPool2d):
            shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(6, 14, 14), (16, 5, 5)]
