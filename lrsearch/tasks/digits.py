"""The 1,797 digits of 8 x 8 pixels that come with scikit-learn: a task without a download."""

import numpy as np
import torch
from numpy.typing import NDArray

from lrsearch.tasks.task import Split, Splits


def digits_splits() -> Splits:
    """Return the digits: of each class a sixth validates, a sixth tests, the rest trains.

    That makes 1,199 examples to train on, 299 to validate, 299 to test, the same in every version. Images are
    uint8 ``[examples, 8, 8]`` from 0 to 16, targets int64 ``[examples]``.
    """
    from sklearn.datasets import load_digits  # here, because it takes a second that other tasks need not wait

    images, targets = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images.reshape(-1, 8, 8).astype(np.uint8))
    classes = torch.from_numpy(targets.astype(np.int64))
    train, valid, test = _stratified(targets)
    return Splits(*(Split(pixels[rows], classes[rows]) for rows in (train, valid, test)))


def _stratified(targets: NDArray[np.int_]) -> list[NDArray[np.intp]]:
    # Of NumPy's generators only RandomState promises the same stream in every version.
    generator = np.random.RandomState(0)
    parts: list[list[NDArray[np.intp]]] = []
    for number in np.unique(targets):
        rows = generator.permutation(np.flatnonzero(targets == number))
        sixth = round(len(rows) / 6)
        parts.append([rows[2 * sixth :], rows[:sixth], rows[sixth : 2 * sixth]])
    return [np.sort(np.concatenate(rows)) for rows in zip(*parts, strict=True)]
