"""The data sets come in fixed parts that share no example."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lrsearch.errors import DataError
from lrsearch.tasks import load_task
from lrsearch.tasks.digits import digits_splits
from lrsearch.tasks.images import image_splits
from lrsearch.tasks.shipped import NORMALIZATIONS
from lrsearch.tasks.task import Split, Splits

DIGITS_SHA256 = {
    "train": "09b6aab97fe1ff7a4bf15df00684e5f779444f4404d3ad02bf4fb4ec60a5ff41",
    "valid": "4c2962e616fadd075b8e126a739f1efc5261a5f800f66265670a5c25c577613d",
    "test": "65e3040e99346e14404354687e0df1bc2f76ee298c959c9f007c696dc89d0ef6",
}


def parts(splits: Splits) -> dict[str, Split]:
    """Return the splits by name."""
    return {"train": splits.train, "valid": splits.valid, "test": splits.test}


def sizes(splits: Splits) -> list[int]:
    """Return the number of examples of each split."""
    return [len(split) for split in parts(splits).values()]


def rows(split: Split) -> set[bytes]:
    """Return the examples of a split, each image with its target."""
    images = split.inputs.reshape(len(split), -1).numpy()
    return {
        bytes([target]) + image.tobytes()
        for image, target in zip(images, split.targets.tolist(), strict=True)
    }


def assert_stored_as_promised(splits: Splits, side: int) -> None:
    """Check dtypes, shapes and device of all three splits."""
    for split in parts(splits).values():
        assert split.inputs.dtype == torch.uint8
        assert split.targets.dtype == torch.int64
        assert split.inputs.shape == (len(split), side, side)
        assert split.targets.shape == (len(split),)
        assert split.inputs.device.type == split.targets.device.type == "cpu"


def assert_normalised(splits: Splits, dataset: str) -> None:
    """Check that the constants are the training split's own mean and standard deviation, to three digits."""
    normalization = NORMALIZATIONS[dataset]
    pixels = splits.train.inputs.double() / normalization.white
    assert normalization.mean == pytest.approx(pixels.mean().item(), abs=1e-3)
    assert normalization.std == pytest.approx(pixels.std().item(), abs=1e-3)


def test_digits_have_their_sizes_and_dtypes() -> None:
    """The digits are stored as small integers from 0 to 16, in parts of the promised sizes."""
    splits = digits_splits()
    assert sizes(splits) == [1199, 299, 299]
    assert_stored_as_promised(splits, side=8)
    assert max(int(split.inputs.max()) for split in parts(splits).values()) == 16


def test_digits_are_scikit_learns_each_once() -> None:
    """The parts together are scikit-learn's digits, and no image is in two of them."""
    splits = digits_splits()
    images, targets = load_digits(return_X_y=True)
    everything = Split(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(targets))
    assert rows(splits.train) | rows(splits.valid) | rows(splits.test) == rows(everything)
    assert len(rows(everything)) == sum(sizes(splits)) == 1797


def test_digits_are_stratified() -> None:
    """Each class has its sixth, to the nearest example, in the validation and in the test split."""
    splits = digits_splits()
    counts = {name: split.targets.bincount(minlength=10) for name, split in parts(splits).items()}
    total = counts["train"] + counts["valid"] + counts["test"]
    for name in ("valid", "test"):
        assert ((counts[name] - total / 6).abs() <= 0.5).all()


@pytest.mark.parametrize("name", DIGITS_SHA256)
def test_digits_never_change(name: str) -> None:
    """Every part is, byte for byte, what it was when results were first stored."""
    split = parts(digits_splits())[name]
    content = split.inputs.numpy().tobytes() + split.targets.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == DIGITS_SHA256[name]


def test_digits_are_normalised_by_their_training_split() -> None:
    """Mean and standard deviation of the digits are those of the training split."""
    assert_normalised(digits_splits(), "digits")


def test_mnist_has_its_sizes_and_dtypes(mnist_dir: Path) -> None:
    """MNIST comes as uint8 images in parts of 50,000, 10,000 and 10,000."""
    splits = load_task("mnist-mlp", mnist_dir).splits()
    assert sizes(splits) == [50_000, 10_000, 10_000]
    assert_stored_as_promised(splits, side=28)
    assert_normalised(splits, "mnist")


def test_mnist_is_cut_at_the_last_ten_thousand(mnist_dir: Path) -> None:
    """Training and validation split make up the training file in order; the test split is the test file."""
    splits = image_splits("mnist", mnist_dir)
    raw = mnist_dir / "MNIST" / "raw"
    for name, split in (("train", [splits.train, splits.valid]), ("t10k", [splits.test])):
        pixels, labels = (
            b"".join(getattr(part, field).to(torch.uint8).numpy().tobytes() for part in split)
            for field in ("inputs", "targets")
        )
        assert pixels == (raw / f"{name}-images-idx3-ubyte").read_bytes()[16:]
        assert labels == (raw / f"{name}-labels-idx1-ubyte").read_bytes()[8:]


def test_mnist_parts_share_no_image(mnist_dir: Path) -> None:
    """No image of one part is in another."""
    splits = image_splits("mnist", mnist_dir)
    train, valid, test = (rows(split) for split in parts(splits).values())
    assert not train & valid
    assert not train & test
    assert not valid & test


@pytest.fixture
def numbered_fashion(tmp_path: Path) -> Path:
    """Return a folder with stand-ins of Fashion-MNIST's files: full size, black but for a number each."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, examples in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((examples, 784), dtype=np.uint8)
        images[:, :4] = np.arange(examples, dtype=">u4").view(np.uint8).reshape(-1, 4)
        labels = (np.arange(examples) % 10).astype(np.uint8)
        header = struct.pack(">4i", 0x803, examples, 28, 28)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2i", 0x801, examples) + labels.tobytes()
        )
    return tmp_path


def test_fashion_mnist_is_cut_at_the_last_ten_thousand(numbered_fashion: Path) -> None:
    """Fashion-MNIST is read from its own folder and cut as MNIST is."""
    splits = load_task("fashion-mnist-mlp", numbered_fashion).splits()
    assert_stored_as_promised(splits, side=28)
    expected = {"train": range(50_000), "valid": range(50_000, 60_000), "test": range(10_000)}
    for name, split in parts(splits).items():
        numbers = split.inputs[:, 0, :4].numpy().copy().view(">u4").ravel()
        assert numbers.tolist() == list(expected[name])
        assert torch.equal(split.targets, torch.tensor(expected[name]) % 10)


def test_missing_images_are_reported_when_they_are_read(tmp_path: Path) -> None:
    """Loading a task is possible without data; reading it then says what is missing."""
    (tmp_path / "file").write_text("no folder can be made below this")
    task = load_task("mnist-cnn", tmp_path / "file")
    with pytest.raises(DataError, match="'mnist' is not complete"):
        task.splits()
