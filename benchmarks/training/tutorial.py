"""The training loop as tutorials write it: a DataLoader over images that are converted one by one."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from lrsearch.tasks.classification import Classification, Normalization
from lrsearch.tasks.datasets import DatasetSplit
from lrsearch.tasks.task import Split
from lrsearch.tasks.vision import import_torchvision

Transform = Callable[[Any], Tensor]


class Images(Dataset[tuple[Tensor, int]]):
    """Images as ``torchvision.datasets.MNIST`` gives them: one at a time, through PIL and a transform.

    Args:
        split: raw images and classes.
        to_image: makes of an array what the transform takes.
        transform: makes of it the model's input, ``[1, 28, 28]``.
    """

    def __init__(self, split: Split, to_image: Callable[[Any], Any], transform: Transform) -> None:
        self._split, self._to_image, self._transform = split, to_image, transform

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an input and its class."""
        image = self._to_image(self._split.inputs[index].numpy())
        return self._transform(image), int(self._split.targets[index])


def tutorial_loop(
    task: Classification, model: nn.Module, optimizer: Optimizer, batch_size: int
) -> Iterator[None]:
    """Train as tutorials do, a step at a time, for ever.

    Args:
        task: whose training split, normalization and loss are used.
        model: on its device.
        optimizer: of the model.
        batch_size: examples per step.
    """
    split = task.splits().train
    if isinstance(split, DatasetSplit):
        raise TypeError(f"the tutorial's loop needs raw images, but {task.name} has a data set")
    to_image, transform, _words = conversion(task.normalization)
    loader = DataLoader(Images(split, to_image, transform), batch_size, shuffle=True)
    criterion, device = nn.CrossEntropyLoss(), next(model.parameters()).device
    while True:
        train_loss = 0.0
        for images, labels in loader:
            inputs, targets = images.to(device), labels.to(device)
            loss = criterion(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item()
            yield


def conversion(normalization: Normalization) -> tuple[Callable[[Any], Any], Transform, str]:
    """Return what makes an image of an array, what makes an input of it, and both in words."""
    to_image, words = _imaging()
    try:
        transforms = import_torchvision().transforms
    except ImportError:
        return to_image, _own_transform(normalization), f"{words}, conversion and normalization of our own"
    steps = [transforms.ToTensor(), transforms.Normalize((normalization.mean,), (normalization.std,))]
    return to_image, transforms.Compose(steps), f"{words}, torchvision's ToTensor and Normalize"


def _imaging() -> tuple[Callable[[Any], Any], str]:
    try:
        image = import_module("PIL.Image")
    except ImportError:
        return _unchanged, "arrays (PIL is missing)"
    return image.fromarray, "PIL images"


def _unchanged(array: Any) -> Any:
    return array


def _own_transform(normalization: Normalization) -> Transform:
    """Return the two transforms, written as torchvision does."""
    mean, std = torch.tensor([normalization.mean]), torch.tensor([normalization.std])

    def transform(image: Any) -> Tensor:
        array = np.array(image, np.uint8, copy=True)
        tensor = torch.from_numpy(array).view(*array.shape, 1).permute(2, 0, 1).contiguous()
        tensor = tensor.to(torch.float32).div(255)
        return tensor.clone().sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))

    return transform
