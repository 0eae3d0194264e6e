"""What is compared: ways to train, each as a function that trains for a moment when it is called."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.training.mnist import BATCH_SIZE, EPOCHS, load_net
from benchmarks.training.tutorial import tutorial_loop
from lrsearch.results import EpochResult, LaneFailure
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.task import Batch
from lrsearch.training.array import TrialArray
from lrsearch.training.data import ResidentData, TrainingData
from lrsearch.training.eager import EagerArray, Models
from lrsearch.training.fused.array import FusedArray
from lrsearch.training.fused.fitting import Fit, fit
from lrsearch.training.fused.vmapped import VmappedModule
from lrsearch.training.trainer import TrialSettings, create_trainer

Way = Literal["tutorial", "ordinary", "eager", "fused", "generic"]

TUTORIAL_STEPS, ORDINARY_STEPS = 5, 25  # timed at once
TRIAL_STEPS = {"mnist-mlp": 3200, "mnist-mlp-wide": 1280, "mnist-cnn": 256}  # timed at once in lanes
LEAST_STEPS = 8
MOST_LANES = {"mnist-mlp": 1024, "mnist-mlp-wide": 256, "mnist-cnn": 64}  # more take too long to time


@dataclass(frozen=True)
class Contestant:
    """A way to train, and its setting.

    Args:
        way: the tutorial's loop, ordinary PyTorch on resident tensors, the reference trainer, the fused one,
            or the fused one by ``vmap`` even where it has something faster.
        lanes: trials trained at once by a process.
        mixed: whether these stand at different epochs, spread evenly over a run.
        momentum: of SGD.
        every_core: whether each core has a process, instead of one process in all.
        threads: of a process.
    """

    way: Way
    lanes: int = 1
    mixed: bool = False
    momentum: float = 0.0
    every_core: bool = False
    threads: int = 1

    @property
    def lr(self) -> float:
        """Learning rate."""
        return 0.01 if self.momentum else 0.1


class Excerpt:
    """The first updates of every epoch of a task's data, so that an epoch takes a fraction of a second.

    Args:
        data: the whole.
        steps: updates of an epoch.
    """

    def __init__(self, data: ResidentData, steps: int) -> None:
        self._data, self._steps = data, steps

    @property
    def device(self) -> torch.device:
        """Where the batches lie."""
        return self._data.device

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer updates in an epoch."""
        return self._steps

    def updates(self, seed: int, epoch: int) -> Iterator[list[Batch]]:
        """Yield the first updates of an epoch."""
        return islice(self._data.updates(seed, epoch), self._steps)

    def validation(self) -> Iterator[tuple[Batch, int]]:
        """Yield the validation split."""
        return self._data.validation()


class Training:
    """One net and its data in one process, trained in any way.

    Args:
        net: name of the task.
        data_dir: folder of the data sets.
        device: which trains.
    """

    def __init__(self, net: str, data_dir: Path, device: torch.device) -> None:
        self.task = load_net(net, data_dir)
        self.data = ResidentData(self.task, BATCH_SIZE, device)
        self._device = device
        self._trial_steps, self._most_lanes = TRIAL_STEPS[net], MOST_LANES[net]
        self._prepared: Tensor | None = None

    def model(self) -> nn.Module:
        """Return the untrained model."""
        return Models(self.task, self._device).build(0)

    def chosen(self) -> Contestant:
        """Return what a worker does of its own accord, in one of the processes that it runs in."""
        contestant = Contestant("fused", every_core=self._device.type == "cpu")
        settings = TrialSettings(EPOCHS, "SGD", 0, _point(contestant))
        trainer = create_trainer(self.task, self.data, settings, lanes=None, at_most=self._most_lanes)
        way: Way = "fused" if trainer.reason is None else "eager"
        return replace(contestant, way=way, lanes=trainer.lanes)

    def steps(self, contestant: Contestant) -> Callable[[], int]:
        """Return a function that trains for a moment, waits for the device, and returns the steps made."""
        if contestant.way == "tutorial":
            model, optimizer = self._model_and_optimizer(contestant)
            return self._taken(tutorial_loop(self.task, model, optimizer, BATCH_SIZE), TUTORIAL_STEPS)
        if contestant.way == "ordinary":
            return self._taken(self._ordinary_loop(contestant), ORDINARY_STEPS)
        return _epochs(self._array(contestant), contestant)

    def _taken(self, loop: Iterator[None], steps: int) -> Callable[[], int]:
        def take() -> int:
            for _ in islice(loop, steps):
                pass
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            return steps

        return take

    def _ordinary_loop(self, contestant: Contestant) -> Iterator[None]:
        """Train on prepared tensors of the device, a step at a time."""
        model, optimizer = self._model_and_optimizer(contestant)
        if self._prepared is None:
            self._prepared = self.task.prepare(self.data.train.inputs)
        images, classes = self._prepared, self.data.train.targets
        while True:
            order = torch.randperm(len(images), device=self._device)
            for index in torch.split(order, BATCH_SIZE):
                inputs, targets = images.index_select(0, index), classes.index_select(0, index)
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), targets)
                loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
                optimizer.step()
                yield

    def _model_and_optimizer(self, contestant: Contestant) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = self.model()
        return model, torch.optim.SGD(model.parameters(), lr=contestant.lr, momentum=contestant.momentum)

    def _array(self, contestant: Contestant) -> TrialArray:
        if contestant.way == "eager":
            data = self._excerpt(1)
            return EagerArray(self.task, data, epochs=EPOCHS, optimizer="SGD", seed=0)
        lanes = contestant.lanes
        found = self._fit(contestant)
        return FusedArray(
            self.task, self._excerpt(lanes), found, epochs=EPOCHS, optimizer="SGD", seed=0, lanes=lanes
        )

    def _excerpt(self, lanes: int) -> TrainingData:
        """Return the data of an epoch: on a GPU, which takes no time for one, all of them."""
        if self._device.type == "cuda":
            return self.data
        steps = max(LEAST_STEPS, self._trial_steps // lanes)
        return Excerpt(self.data, min(steps, self.data.steps_per_epoch))

    def _fit(self, contestant: Contestant) -> Fit:
        found = fit(self.task, self.data, self.model(), "SGD", _point(contestant))
        if not isinstance(found, Fit):
            raise TypeError(f"{self.task.name} cannot be fused: {found.reason}")
        if contestant.way == "generic":
            return Fit(VmappedModule(self.task, self.model()), found.trained, found.random)
        return found


def _epochs(array: TrialArray, contestant: Contestant) -> Callable[[], int]:
    """Return a function that trains all lanes for an epoch; trials that end make room for new ones."""
    numbers, running = count(), {}

    def start(trials: int) -> None:
        for trial in islice(numbers, trials):
            array.start(trial, _point(contestant))
            running[trial] = 0

    def train() -> int:
        ended = [trial for trial, epochs in running.items() if epochs == EPOCHS]
        array.drop(ended)
        for trial in ended:
            del running[trial]
        start(contestant.lanes - len(running))
        for result in array.run_epoch():
            running[result.trial] = _epoch(result)
        return len(running) * array.steps_per_epoch

    if contestant.mixed:
        _spread(array, contestant.lanes, start, running)
    return train


def _spread(array: TrialArray, lanes: int, start: Callable[[int], None], running: dict[int, int]) -> None:
    """Let lanes stand at epochs that are spread evenly over a run: 0 to 9 of 10."""
    for epoch in range(EPOCHS - 1):
        start((epoch + 1) * lanes // EPOCHS - epoch * lanes // EPOCHS)
        for result in array.run_epoch():
            running[result.trial] = _epoch(result)
    start(lanes - (EPOCHS - 1) * lanes // EPOCHS)


def _epoch(result: EpochResult | LaneFailure) -> int:
    if isinstance(result, LaneFailure):
        raise RuntimeError(f"trial {result.trial} failed: {result.reason}")  # noqa: TRY004 # no wrong type
    return result.epoch


def _point(contestant: Contestant) -> Hyperparameters:
    return Hyperparameters(lr=contestant.lr, optimizer={"momentum": contestant.momentum})
