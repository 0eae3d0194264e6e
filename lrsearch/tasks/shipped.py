"""The shipped tasks' models, data and normalisation (what the catalogue names, this builds)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from lrsearch.tasks.catalogue import TaskInfo
from lrsearch.tasks.classification import Classification, Normalization
from lrsearch.tasks.digits import digits_splits
from lrsearch.tasks.images import image_splits
from lrsearch.tasks.models import lenet, perceptron

MODELS: dict[str, Callable[[], nn.Module]] = {
    "mnist-mlp": partial(perceptron, 784, 64, 32, 10),
    "mnist-mlp-wide": partial(perceptron, 784, 256, 128, 10),
    "mnist-cnn": lenet,
    "fashion-mnist-mlp": partial(perceptron, 784, 64, 32, 10),
    "digits-mlp": partial(perceptron, 64, 32, 10),
}

NORMALIZATIONS = {
    "mnist": Normalization(white=255, mean=0.1307, std=0.3081),
    "fashion-mnist": Normalization(white=255, mean=0.2860, std=0.3530),
    "digits": Normalization(white=16, mean=0.3058, std=0.3764),
}


def build(info: TaskInfo, data_dir: Path) -> Classification:
    """Return the task that a catalogue entry describes.

    Args:
        info: an entry of the catalogue.
        data_dir: folder of the data sets.
    """
    # partial, not lambda: a task must survive pickling, because workers are spawned
    read = partial(image_splits, info.dataset, data_dir) if info.needs_download else digits_splits
    return Classification(
        name=info.name,
        model=MODELS[info.name],
        read_splits=read,
        normalization=NORMALIZATIONS[info.dataset],
        batch_size=info.batch_size,
        epochs=info.epochs,
    )
