"""MNIST and Fashion-MNIST: 50,000 examples to train on, 10,000 to validate, 10,000 to test."""

from pathlib import Path

from lrsearch.tasks.files import DATASETS, fetch
from lrsearch.tasks.task import Split, Splits
from lrsearch.tasks.vision import import_torchvision

VALID_EXAMPLES = 10_000


def image_splits(dataset: str, data_dir: Path) -> Splits:
    """Return an image data set; the last 10,000 examples of its training file are the validation split.

    Images are uint8 ``[examples, 28, 28]``, targets int64 ``[examples]``.

    Args:
        dataset: ``"mnist"`` or ``"fashion-mnist"``; fetched if it is not there.
        data_dir: folder of the data sets.

    Raises:
        UnknownNameError: no data set has that name.
        DataError: the data is missing and cannot be fetched.
    """
    fetch(dataset, data_dir)
    reader = getattr(import_torchvision().datasets, DATASETS[dataset].folder)
    training, test = (reader(data_dir, train=train, download=False) for train in (True, False))
    return Splits(
        train=Split(training.data[:-VALID_EXAMPLES], training.targets[:-VALID_EXAMPLES]),
        valid=Split(training.data[-VALID_EXAMPLES:], training.targets[-VALID_EXAMPLES:]),
        test=Split(test.data, test.targets),
    )
