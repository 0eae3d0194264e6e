"""The data that all contestants train on, read without torchvision; random images where there are none."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lrsearch.tasks.classification import Classification, Normalization
from lrsearch.tasks.models import lenet, perceptron
from lrsearch.tasks.task import Split, Splits

NETS: dict[str, Callable[[], nn.Module]] = {
    "mnist-mlp": partial(perceptron, 784, 64, 32, 10),
    "mnist-mlp-wide": partial(perceptron, 784, 256, 128, 10),
    "mnist-cnn": lenet,
}
NORMALIZATION = Normalization(white=255, mean=0.1307, std=0.3081)
EPOCHS = 10  # of a trial
TRAINED_EXAMPLES = 50_000
BATCH_SIZE = 32
STEPS_PER_EPOCH = TRAINED_EXAMPLES // BATCH_SIZE
VALID_EXAMPLES = BATCH_SIZE  # the trainers validate after every epoch, which is not what is measured
_IMAGES, _LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
_HEADERS = {_IMAGES: 16, _LABELS: 8}  # bytes before the content


def has_mnist(data_dir: Path) -> bool:
    """Return whether the files of MNIST are there."""
    return all((_folder(data_dir) / name).is_file() for name in _HEADERS)


def load_net(net: str, data_dir: Path, valid_examples: int = VALID_EXAMPLES) -> Classification:
    """Return a shipped task of MNIST, made of parts that need PyTorch alone.

    Args:
        net: name of the task.
        data_dir: folder of the data sets; where MNIST is not there, images are random.
        valid_examples: of the validation split, at most 10,000.
    """
    return Classification(
        name=net,
        model=NETS[net],
        read_splits=partial(_splits, data_dir, valid_examples),
        normalization=NORMALIZATION,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
    )


def _splits(data_dir: Path, valid_examples: int) -> Splits:
    images, labels = _read(data_dir) if has_mnist(data_dir) else _random()
    end = TRAINED_EXAMPLES + valid_examples
    return Splits(
        train=Split(images[:TRAINED_EXAMPLES], labels[:TRAINED_EXAMPLES]),
        valid=Split(images[TRAINED_EXAMPLES:end], labels[TRAINED_EXAMPLES:end]),
    )


def _read(data_dir: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = (
        np.frombuffer((_folder(data_dir) / name).read_bytes(), np.uint8, offset=_HEADERS[name])
        for name in (_IMAGES, _LABELS)
    )
    return torch.from_numpy(images.reshape(-1, 28, 28).copy()), torch.from_numpy(labels.astype(np.int64))


def _random() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of MNIST's size, of which a fifth is not black, as in MNIST, and random classes."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60_000, 28, 28), dtype=np.uint8)
    images *= generator.random(images.shape, dtype=np.float32) < 0.2
    return torch.from_numpy(images), torch.from_numpy(generator.integers(0, 10, 60_000))


def _folder(data_dir: Path) -> Path:
    return data_dir / "MNIST" / "raw"
