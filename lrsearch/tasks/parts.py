"""A task made from plain parts: a model factory, a loss, and tensors or data sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from lrsearch.errors import InputError, TaskError
from lrsearch.tasks.datasets import Collate, DatasetSplit
from lrsearch.tasks.rules import check_function, check_task
from lrsearch.tasks.task import Metric, Split, Splits, Task, TrainingStep
from lrsearch.tasks.trees import Tree, leaves

Pair = tuple[Tree, Tree]
"""(inputs, targets)"""


@dataclass(frozen=True)
class Settings:
    """A plain task's name and numbers, as ``Task`` has them; None for the model factory's name."""

    name: str | None = None
    batch_size: int = 32
    epochs: int = 10
    clip_norm: float | None = None
    accumulate: int = 1
    amp: bool = False


class PlainTask(Task):
    """A task made from plain parts; it can be pickled where they can.

    Args:
        model_factory: returns a fresh model.
        splits: the data.
        loss: a function of (outputs, targets), or None where there is a training step.
        metrics: functions of (outputs, targets) by name.
        training_step: a function of (model, batch), or None for the default.
        settings: name and numbers.

    Raises:
        TaskError: a part is not what it must be.
    """

    def __init__(
        self,
        model_factory: Callable[[], nn.Module],
        splits: Splits,
        loss: Callable[[Any, Any], Tensor] | None,
        metrics: Mapping[str, Metric],
        training_step: TrainingStep | None,
        settings: Settings,
    ) -> None:
        _check_parts(model_factory, loss, training_step)
        self._model_factory, self._splits = model_factory, splits
        self.name = _name_of(model_factory) if settings.name is None else settings.name
        self.batch_size, self.epochs = settings.batch_size, settings.epochs
        self.clip_norm, self.accumulate, self.amp = settings.clip_norm, settings.accumulate, settings.amp
        self.metrics = metrics
        check_task(self)
        self.metrics = dict(metrics)
        if loss is not None:
            self.loss = _following(loss)  # type: ignore[method-assign,assignment]  # the user's function is this task's method
        if training_step is not None:
            self.training_step = training_step  # type: ignore[method-assign,assignment]  # likewise

    def build_model(self) -> nn.Module:
        """Return what the model factory makes."""
        return self._model_factory()

    def splits(self) -> Splits:
        """Return the data."""
        return self._splits


def tensor_splits(train: Pair, valid: Pair, test: Pair | None) -> Splits:
    """Return splits of pairs of trees of tensors.

    Raises:
        TaskError: a split is no pair, or its tensors do not fit together.
    """
    test_split = None if test is None else _tensor_split("test", test)
    return Splits(_tensor_split("train", train), _tensor_split("valid", valid), test_split)


def dataset_splits(
    datasets: tuple[Dataset[Any], Dataset[Any], Dataset[Any] | None],
    collate: Collate | None,
    num_workers: int,
    resident: bool | None,
) -> Splits:
    """Return splits of data sets: train, valid and test, which may be None.

    Raises:
        TaskError: a data set has no length or no example.
    """
    train, valid, test = (
        dataset if dataset is None else _dataset_split(name, dataset, collate, num_workers, resident)
        for name, dataset in zip(("train", "valid", "test"), datasets, strict=True)
    )
    if train is None or valid is None:
        raise TaskError("train and valid must both be data sets: one to learn from, one to compare trials on")
    return Splits(train, valid, test)


def _tensor_split(name: str, pair: Pair) -> Split:
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise TaskError(
            f"{name} must be (inputs, targets), but got a {type(pair).__name__}; "
            "several inputs go into a tuple or dict, and targets may be None where a training_step needs none"
        )
    try:
        return Split(*pair)
    except InputError as error:
        raise TaskError(f"{name}: {error}") from None


def _dataset_split(
    name: str, dataset: Dataset[Any], collate: Collate | None, num_workers: int, resident: bool | None
) -> DatasetSplit:
    try:
        return DatasetSplit(dataset, collate, num_workers, resident)
    except InputError as error:
        raise TaskError(f"{name}: {error}") from None


def _check_parts(model_factory: Any, loss: Any, training_step: Any) -> None:
    if isinstance(model_factory, nn.Module) or not callable(model_factory):
        raise TaskError(
            "model_factory must make a fresh model at every call, because every trial trains its own, "
            f"but got a {type(model_factory).__name__}; pass the class, or lambda: MyModel(...)"
        )
    if loss is None and training_step is None:
        raise TaskError(
            "pass loss=, such as nn.CrossEntropyLoss(), or training_step=, a function of (model, batch)"
        )
    for name, function in {"loss": loss, "training_step": training_step}.items():
        if function is not None:
            check_function(name, function)


def _following(loss: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    """Return a loss whose own tensors, such as the weights of classes, follow the outputs' device."""
    return partial(_loss_there, loss) if isinstance(loss, nn.Module) and loss.state_dict() else loss


def _loss_there(loss: nn.Module, outputs: Any, targets: Any) -> Tensor:
    device = next(leaf.device for leaf in leaves(outputs) if isinstance(leaf, Tensor))
    result: Tensor = loss.to(device)(outputs, targets)
    return result


def _name_of(model_factory: Callable[[], nn.Module]) -> str:
    while isinstance(model_factory, partial):
        model_factory = model_factory.func
    name = getattr(model_factory, "__name__", type(model_factory).__name__)
    return "task" if name == "<lambda>" else name
