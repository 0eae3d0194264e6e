"""Many complete trainings at once, as a search without pruning would do them."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.training.mnist import BATCH_SIZE, load_net
from lrsearch.schedules import Hyperparameters
from lrsearch.training.data import ResidentData
from lrsearch.training.trainer import TrialSettings, create_trainer

VALID_EXAMPLES = 10_000


@dataclass(frozen=True)
class Trainings:
    """What was trained, and how long it took.

    Args:
        trials: trained at once.
        epochs: of each, with validation.
        seconds: of all, from the first one's start.
    """

    trials: int
    epochs: int
    seconds: float


def train_completely(net: str, data_dir: Path, device: torch.device, trials: int, epochs: int) -> Trainings:
    """Train many trials of a net from beginning to end, and return how long it took."""
    task = load_net(net, data_dir, VALID_EXAMPLES)
    data = ResidentData(task, BATCH_SIZE, device)
    point = Hyperparameters(lr=0.1)
    settings = TrialSettings(epochs, "SGD", 0, point)
    array = create_trainer(task, data, settings, lanes=trials, at_most=trials).array
    begun = time.perf_counter()
    for trial in range(trials):
        array.start(trial, point)
    for _ in range(epochs):
        array.run_epoch()
    return Trainings(trials, epochs, time.perf_counter() - begun)
