"""The networks of the shipped tasks, for images of shape ``[examples, 1, height, width]``."""

from itertools import pairwise

from torch import nn


def perceptron(*widths: int) -> nn.Sequential:
    """Return a multilayer perceptron with ReLU between its layers and none after the last.

    Args:
        widths: units per layer, input pixels first, classes last; at least two.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lenet(classes: int = 10) -> nn.Sequential:
    """Return LeNet-5 for 28 x 28 pixels as it is built today: ReLU, max pooling, a linear output layer.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, figure 2.

    Args:
        classes: units of the output layer.
    """
    return nn.Sequential(
        *(nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 5 * 5, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)),
    )
