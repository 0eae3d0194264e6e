"""A training that is saved after an epoch and goes on elsewhere: the same losses as without a break."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrsearch.results import EpochResult
from lrsearch.training.checkpoint import CheckpointError, Identity, read_checkpoint, write_checkpoint
from lrsearch.training.saved_lane import MisfitError, SavedLane
from tests.training.fused.arrays import Blobs, eager, figures, fused, perceptron, point
from tests.training.fused.test_parity import double_precision  # noqa: F401 # a fixture

EPOCHS = 6

CASES = [
    ("SGD", point(0.1)),
    ("SGD", point(0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)),
    ("SGD", point(0.05, momentum=0.9, dampening=0.3)),
    ("SGD", point(0.2, "ReduceLROnPlateau", {"factor": 0.5, "patience": 0}, momentum=0.5)),
    ("Adam", point(0.01, "OneCycleLR")),
    ("Adam", point(0.01, amsgrad=True)),
    ("AdamW", point(0.01, "StepLR", {"step_fraction": 0.3, "gamma": 0.5})),
]
EAGER_CASES = [
    *CASES,
    ("LBFGS", point(0.1)),
    ("RMSprop", point(0.01, momentum=0.5)),
    ("NAdam", point(0.01)),
    ("SGDScheduleFree", point(0.5)),
    ("AdamWScheduleFree", point(0.01, "LinearLR")),
]


class Normalised(nn.Sequential):
    """Buffers that training changes, and random numbers."""

    def __init__(self):
        super().__init__(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def through_a_file(saved: SavedLane, tmp_path) -> SavedLane:
    """Return a saved lane as it comes back from a checkpoint."""
    identity = Identity("study", 0, "digest")
    write_checkpoint(tmp_path / "lane.pt", {identity: saved})
    return read_checkpoint(tmp_path / "lane.pt")[identity]


def whole(array, hyperparameters):
    """Return the curve of a trial without a break."""
    array.start(0, hyperparameters)
    return figures([array.run_epoch()[0] for _epoch in range(EPOCHS)])


def broken(first, second, hyperparameters, at, tmp_path):
    """Return the curve of a trial that is saved in one array and goes on in another."""
    first.start(0, hyperparameters)
    curve = [first.run_epoch()[0] for _epoch in range(at)]
    saved = through_a_file(first.save(0), tmp_path)
    second.resume(0, hyperparameters, saved)
    curve += [second.run_epoch()[0] for _epoch in range(EPOCHS - at)]
    assert all(isinstance(result, EpochResult) for result in curve)
    assert [result.epoch for result in curve] == list(range(1, EPOCHS + 1))
    return figures(curve)


@pytest.mark.parametrize("model", [perceptron, Normalised])
@pytest.mark.parametrize(("optimizer", "hyperparameters"), EAGER_CASES)
def test_an_eager_lane_goes_on_as_if_never_interrupted(optimizer, hyperparameters, model, tmp_path):
    """To the last bit: optimizer, schedule and buffers are all there."""
    task = Blobs(model)
    arrays = [eager(task, optimizer, epochs=EPOCHS) for _ in range(3)]
    expected = whole(arrays[0], hyperparameters)
    found = broken(arrays[1], arrays[2], hyperparameters, 2, tmp_path)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("model", [perceptron, Normalised])
@pytest.mark.parametrize(("optimizer", "hyperparameters"), CASES)
def test_a_fused_lane_goes_on_as_if_never_interrupted(optimizer, hyperparameters, model, tmp_path):
    """Also among other lanes that are at other epochs, in another row, with another momentum."""
    task = Blobs(model)
    other = point(0.03)
    points = [hyperparameters, other]
    arrays = [fused(task, 2, optimizer, points=points, epochs=EPOCHS) for _ in range(3)]
    expected = whole(arrays[0], hyperparameters)
    arrays[2].start(7, other)
    arrays[2].run_epoch()
    arrays[1].start(0, hyperparameters)
    curve = [arrays[1].run_epoch()[0] for _epoch in range(3)]
    arrays[2].resume(0, hyperparameters, through_a_file(arrays[1].save(0), tmp_path))
    for _epoch in range(EPOCHS - 3):
        curve += [result for result in arrays[2].run_epoch() if result.trial == 0]
    torch.testing.assert_close(figures(curve), expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=15)
@given(at=st.integers(1, EPOCHS - 1), lr=st.floats(1e-3, 0.3), momentum=st.sampled_from([0.0, 0.5, 0.95]))
def test_it_may_be_saved_after_any_epoch(tmp_path_factory, at, lr, momentum):
    """Whatever has been learned by then."""
    task, hyperparameters = Blobs(), point(lr, momentum=momentum)
    arrays = [fused(task, 1, points=[hyperparameters], epochs=EPOCHS) for _ in range(3)]
    expected = whole(arrays[0], hyperparameters)
    found = broken(arrays[1], arrays[2], hyperparameters, at, tmp_path_factory.mktemp("lane"))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_saved_lane_does_not_change_with_its_array():
    """It is a copy."""
    array = eager(Blobs(), epochs=EPOCHS)
    array.start(0, point(0.1))
    array.run_epoch()
    saved = array.save(0)
    before = {name: tensor.clone() for name, tensor in saved.values["model"]["tensors"].items()}
    array.run_epoch()
    assert all(torch.equal(before[name], tensor) for name, tensor in saved.values["model"]["tensors"].items())


def test_a_lane_of_another_trainer_is_refused():
    """And leaves the array as it was, with its lanes free."""
    saving, task, hyperparameters = eager(Blobs(), epochs=EPOCHS), Blobs(), point(0.1)
    saving.start(0, hyperparameters)
    saving.run_epoch()
    array = fused(task, 1, points=[hyperparameters], epochs=EPOCHS)
    with pytest.raises(MisfitError, match="saved by the eager trainer"):
        array.resume(0, hyperparameters, saving.save(0))
    array.start(0, hyperparameters)


@pytest.mark.parametrize(
    "make", [eager, lambda task, **options: fused(task, 1, points=[point(0.1)], **options)]
)
def test_a_lane_of_another_model_is_refused(make):
    """Its tensors have other shapes; the lane is free then."""
    saving = make(Blobs(), epochs=EPOCHS)
    saving.start(0, point(0.1))
    saving.run_epoch()
    wider = make(Blobs(lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))), epochs=EPOCHS)
    with pytest.raises(MisfitError, match="shape"):
        wider.resume(0, point(0.1), saving.save(0))
    wider.start(0, point(0.1))
    assert isinstance(wider.run_epoch()[0], EpochResult)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04K\x01."])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    """With one kind of error, whatever is wrong with it."""
    (tmp_path / "lane.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "lane.pt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path, share):
    """As after a crash of the machine."""
    path = tmp_path / "lane.pt"
    write_checkpoint(path, {Identity("s", 0, "d"): SavedLane("eager", 1, None, {"x": torch.zeros(1000)})})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(path)


def test_nothing_in_a_checkpoint_is_ever_run(tmp_path):
    """An object that would run code when it is unpickled is refused, and does not."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"format": 1, "lanes": [Bomb()]}, tmp_path / "lane.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "lane.pt")
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch):
    """The disk is full: the file before stays, and no half of another one."""
    path, identity = tmp_path / "lane.pt", Identity("s", 0, "d")
    write_checkpoint(path, {identity: SavedLane("eager", 1, None, {})})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(path, {identity: SavedLane("eager", 2, None, {})})
    assert [each.name for each in tmp_path.iterdir()] == ["lane.pt"]
    assert read_checkpoint(path)[identity].epoch == 1


def test_a_bit_that_has_changed_is_found(tmp_path):
    """PyTorch loads such a file without a word, and training would go on with wrong weights."""
    path = tmp_path / "lane.pt"
    write_checkpoint(path, {Identity("s", 0, "d"): SavedLane("eager", 1, None, {"x": torch.zeros(1000)})})
    content = bytearray(path.read_bytes())
    content[content.index(bytes(400)) + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(path)


class Counting(nn.Sequential):
    """Keeps a count in a plain attribute, and something in its extra state, that its outputs follow."""

    def __init__(self):
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.calls, self.extra = 0, torch.zeros(1)

    def forward(self, inputs):
        """Fade with the number of calls."""
        if self.training:
            self.calls += 1
            self.extra = self.extra + 0.1
        return super().forward(inputs) * (1 + self.calls / 100) + self.extra.item() / 100

    def get_extra_state(self):
        """Return what is no tensor of the model's."""
        return {"extra": self.extra}

    def set_extra_state(self, state):
        """Take it back."""
        self.extra = state["extra"]


def test_what_a_model_counts_goes_on_too(tmp_path):
    """Plain numbers of its modules, and their extra state."""
    arrays = [eager(Blobs(Counting), epochs=EPOCHS) for _ in range(3)]
    expected = whole(arrays[0], point(0.1))
    torch.testing.assert_close(
        broken(arrays[1], arrays[2], point(0.1), 3, tmp_path), expected, rtol=0, atol=0
    )
