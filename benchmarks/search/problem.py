"""What all searches have in common: the space, the loss to reach, and training on resident tensors."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from lrsearch.parameters import Scalar, SearchSpace
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.service.studies import resolved
from lrsearch.service.tasks import find_task
from lrsearch.spec import StudySpec, hyperparameters, read_spec, search_space
from lrsearch.spec.shipped import shipped_studies
from lrsearch.tasks.classification import Classification
from lrsearch.tasks.task import Split
from lrsearch.training.build import build
from lrsearch.training.data import epoch_order
from lrsearch.training.eager import Models

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Problem:
    """A search that is timed.

    Args:
        study: name of a shipped study of an image classification.
        seed: of weights, batch order and search.
        target: validation loss to reach.
        cap_s: seconds after which it is given up.
        data_dir: folder of the data sets.
        processes: that train at once.
        trials: at most; None for as many as there is time for.
    """

    study: str
    seed: int
    target: float
    cap_s: float
    data_dir: Path
    processes: int
    trials: int | None = None

    @property
    def spec(self) -> StudySpec:
        """The study's resolved specification."""
        return resolved(read_spec(shipped_studies()[self.study], {"seed": self.seed}))

    @property
    def task(self) -> Classification:
        """What is learned."""
        task = find_task(self.spec, self.data_dir)
        if not isinstance(task, Classification):
            raise TypeError(f"the search benchmark needs images, but {self.study} learns {task.name}")
        return task


class Training:
    """Ordinary PyTorch on resident tensors, in one thread: a trial at a time.

    Args:
        problem: what is searched.
        tensors: from ``resident_tensors``; None reads the data.
    """

    def __init__(self, problem: Problem, tensors: Mapping[str, Tensor] | None = None) -> None:
        torch.set_num_threads(1)
        self.spec, self._seed = problem.spec, problem.seed
        self.space: SearchSpace = search_space(self.spec)
        self._task = problem.task
        self._models = Models(self._task, CPU)
        self._tensors = tensors or resident_tensors(self._task)
        self.epochs = self.spec.epochs or self._task.epochs
        self._batch_size = self.spec.batch_size or self._task.batch_size

    def hyperparameters(self, point: Mapping[str, Scalar]) -> Hyperparameters:
        """Return the hyperparameters that a whole point of the space means."""
        return hyperparameters(self.spec, self.space.searched_part(point))

    def losses(self, point: Mapping[str, Scalar]) -> Iterator[float]:
        """Train a trial, and yield its validation loss after every epoch until one is not finite."""
        images, classes = self._tensors["images"], self._tensors["classes"]
        steps = len(images) // self._batch_size
        model = self._models.build(self._seed)
        schedule = Schedule(self.hyperparameters(point), self.epochs, steps)
        optimizer, scheduler = build(model, self.spec.optimizer.name, schedule)
        for epoch in range(self.epochs):
            model.train()
            order = epoch_order(len(images), self._seed, epoch)[: steps * self._batch_size]
            for index in torch.split(order, self._batch_size):
                optimizer.zero_grad()
                inputs, targets = images.index_select(0, index), classes.index_select(0, index)
                loss = nn.functional.cross_entropy(model(inputs), targets)
                loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
                optimizer.step()
                scheduler.step()
            valid_loss = self._validate(model)
            scheduler.report(valid_loss)
            yield valid_loss
            if not math.isfinite(valid_loss):
                return

    @torch.no_grad()
    def _validate(self, model: nn.Module) -> float:
        model.eval()
        outputs = model(self._tensors["valid_images"])
        return float(nn.functional.cross_entropy(outputs, self._tensors["valid_classes"]))


def resident_tensors(task: Classification) -> dict[str, Tensor]:
    """Return the training and validation splits as the model takes them."""
    splits = task.splits()
    train, valid = cast("Split", splits.train), cast("Split", splits.valid)
    return {
        "images": task.prepare(train.inputs),
        "classes": train.targets,
        "valid_images": task.prepare(valid.inputs),
        "valid_classes": valid.targets,
    }
