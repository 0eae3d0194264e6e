"""What everything trainable is: a model, a loss, data; a class to derive from, or made from plain parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from lrsearch.errors import InputError, TaskError
from lrsearch.tasks.datasets import Collate, DatasetSplit
from lrsearch.tasks.trees import Tree, length, shapes

if TYPE_CHECKING:
    from lrsearch.tasks.parts import Pair

Metric = Callable[[Any, Any], Tensor]
"""A function of (outputs, targets) that returns the mean over the examples given, a scalar."""

Batch = Any
"""(inputs, targets), on the training device and prepared; where a split has no targets, its inputs alone."""

TrainingStep = Callable[[nn.Module, Batch], Tensor]
"""A function of (model, batch) that returns the batch's mean loss, a scalar with a gradient."""


@dataclass(frozen=True, eq=False)
class Split:
    """The examples of one split, on the CPU.

    Args:
        inputs: raw inputs as stored: a tensor ``[examples, ...]``, or a tuple, list or dict of such; images
            as uint8.
        targets: what the loss compares outputs with, in the same form; class numbers as int64. None where
            the inputs are all that the task's ``training_step`` needs.

    Raises:
        InputError: tensors differ in length, a leaf is no tensor, or there is no example.
    """

    inputs: Tree
    targets: Tree = None

    def __post_init__(self) -> None:
        counts = {length(tree) for tree in (self.inputs, self.targets) if tree is not None}
        if len(counts) > 1 or 0 in counts:
            targets = "" if self.targets is None else f", targets of shape {shapes(self.targets)}"
            raise InputError(
                "a split needs at least one example, and one target per input: "
                f"got inputs of shape {shapes(self.inputs)}{targets}"
            )

    def __len__(self) -> int:
        """Return the number of examples."""
        return length(self.inputs)


@dataclass(frozen=True, eq=False)
class Splits:
    """The data of a task in its three parts, which share no example.

    Args:
        train: what the weights are fitted to.
        valid: what trials are compared on.
        test: read once, when the winner is confirmed; None where there is none.
    """

    train: Split | DatasetSplit
    valid: Split | DatasetSplit
    test: Split | DatasetSplit | None = None


class _ClassName:
    """An attribute whose value is the name of the class it is read from, until it is set."""

    def __get__(self, task: object, owner: type) -> str:
        return owner.__name__


class Task:
    """What is learned. Derive from it, or make one from plain parts: ``from_tensors``, ``from_datasets``.

    A subclass defines ``build_model``, ``splits``, and ``loss`` or ``training_step``; all else has defaults.

    Attributes:
        name: the name under which results are stored; by default the class's.
        batch_size: examples per forward pass, unless the study says otherwise.
        epochs: passes over the training split, unless the study says otherwise.
        metrics: further figures to report beside the loss, by name (any but ``loss``); they decide nothing.
        clip_norm: the gradient's norm is cut to this before every update; None for no limit.
        accumulate: batches whose mean gradient makes one update, at least 1.
        amp: forward passes run under ``torch.autocast`` in bfloat16.
        validation_batch_size: examples per forward pass of validation; None for four times the batch size.
    """

    name: str = _ClassName()  # type: ignore[assignment]  # it reads as a str, and subclasses set one
    batch_size: int = 32
    epochs: int = 10
    metrics: Mapping[str, Metric] = MappingProxyType({})
    clip_norm: float | None = None
    accumulate: int = 1
    amp: bool = False
    validation_batch_size: int | None = None

    def build_model(self) -> nn.Module:
        """Return a fresh model on the CPU.

        Its weights come from torch's global generator, which the caller seeds.
        """
        raise TaskError(f"{self.name}: define build_model(self), which returns a fresh torch.nn.Module")

    def splits(self) -> Splits:
        """Return the data on the CPU, the same at every call.

        Raises:
            DataError: the data is missing and cannot be fetched.
        """
        raise TaskError(
            f"{self.name}: define splits(self), which returns Splits(Split(inputs, targets), ...): "
            "train, valid and, if there is one, test"
        )

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of the examples given, a scalar.

        Args:
            outputs: what the model returned, such as a tensor ``[examples, ...]``.
            targets: rows of a split's targets, such as a tensor ``[examples, ...]``.
        """
        del outputs, targets
        raise TaskError(
            f"{self.name}: define loss(self, outputs, targets), which returns the mean loss as a "
            "scalar tensor, or training_step(self, model, batch)"
        )

    def prepare(self, inputs: Any) -> Any:
        """Return what ``forward`` takes, one row per input, on the inputs' own device; by default the same.

        Args:
            inputs: rows of a split's inputs, or all of a batch that has no targets.
        """
        return inputs

    def forward(self, model: nn.Module, inputs: Any) -> Any:
        """Return the model's outputs; a tuple or list of inputs are its arguments, a dict named ones."""
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, list | tuple) else model(inputs)

    def training_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a scalar with a gradient; it must not update the model itself."""
        inputs, targets = self.pair(batch)
        return self.loss(self.forward(model, inputs), targets)

    def validation_step(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return ``"loss"`` and the metrics by name: means over a batch's examples, scalars.

        Where there is no ``loss`` but a ``training_step``, that gives the loss.
        """
        if not self.overrides("loss") and not self.metrics:
            return {"loss": self.training_step(model, batch)}
        inputs, targets = self.pair(batch)
        outputs = self.forward(model, inputs)
        loss = self.loss(outputs, targets) if self.overrides("loss") else self.training_step(model, batch)
        return {"loss": loss, **{name: metric(outputs, targets) for name, metric in self.metrics.items()}}

    def pair(self, batch: Batch) -> tuple[Any, Any]:
        """Return inputs and targets of a batch.

        Raises:
            TaskError: the batch is not made of these two.
        """
        if isinstance(batch, tuple) and len(batch) == 2:
            return batch
        raise TaskError(
            f"{self.name}: loss and metrics need batches (inputs, targets), but a batch is a "
            f"{type(batch).__name__} of shape {shapes(batch)}; give the splits targets, several inputs as "
            "a tuple or dict, or define training_step(self, model, batch) and, for metrics, validation_step"
        )

    def overrides(self, method: str) -> bool:
        """Return whether this task has a method of its own in the place of the base class's."""
        return getattr(getattr(self, method), "__func__", None) is not getattr(Task, method)

    @staticmethod
    def from_tensors(
        model_factory: Callable[[], nn.Module],
        train: "Pair",
        valid: "Pair",
        test: "Pair | None" = None,
        *,
        loss: Callable[[Any, Any], Tensor] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        training_step: TrainingStep | None = None,
        name: str | None = None,
        batch_size: int = 32,
        epochs: int = 10,
        clip_norm: float | None = None,
        accumulate: int = 1,
        amp: bool = False,
    ) -> "Task":
        """Return a task whose data are tensors.

        Args:
            model_factory: returns a fresh model, such as the model's class.
            train: ``(inputs, targets)``, as ``Split`` takes them.
            valid: likewise.
            test: likewise, or None.
            loss: a function of (outputs, targets), such as ``nn.MSELoss()``; may be left out where there is a
                ``training_step``.
            metrics: functions of (outputs, targets) by name.
            training_step: a function of (model, batch) that returns the loss to train with.
            name: by default the model factory's.
            batch_size: examples per forward pass, at least 1.
            epochs: passes over the training split, at least 1.
            clip_norm: limit of the gradient's norm, above 0, or None.
            accumulate: batches per update, at least 1.
            amp: forward in bfloat16.

        Raises:
            TaskError: a part is not what it must be.
        """
        from lrsearch.tasks.parts import PlainTask, Settings, tensor_splits  # here, because it imports this

        settings = Settings(name, batch_size, epochs, clip_norm, accumulate, amp)
        splits = tensor_splits(train, valid, test)
        return PlainTask(model_factory, splits, loss, metrics or {}, training_step, settings)

    @staticmethod
    def from_datasets(
        model_factory: Callable[[], nn.Module],
        train: Dataset[Any],
        valid: Dataset[Any],
        test: Dataset[Any] | None = None,
        *,
        loss: Callable[[Any, Any], Tensor] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        training_step: TrainingStep | None = None,
        name: str | None = None,
        batch_size: int = 32,
        epochs: int = 10,
        clip_norm: float | None = None,
        accumulate: int = 1,
        amp: bool = False,
        collate: Collate | None = None,
        num_workers: int = 0,
        resident: bool | None = None,
    ) -> "Task":
        """Return a task whose data are data sets of PyTorch's, loaded onto the device or streamed.

        Args:
            model_factory: returns a fresh model, such as the model's class.
            train: its examples are ``(inputs, targets)``, or what ``training_step`` takes.
            valid: likewise.
            test: likewise, or None.
            loss: as for ``from_tensors``, like all up to ``amp``.
            metrics: functions of (outputs, targets) by name.
            training_step: a function of (model, batch) that returns the loss to train with.
            name: by default the model factory's.
            batch_size: examples per forward pass, at least 1.
            epochs: passes over the training split, at least 1.
            clip_norm: limit of the gradient's norm, above 0, or None.
            accumulate: batches per update, at least 1.
            amp: forward in bfloat16.
            collate: makes a batch of a list of examples; None for PyTorch's ``default_collate``.
            num_workers: processes that read ahead where data are streamed.
            resident: True to load everything onto the device, False to stream, None to decide by whether the
                examples fit and are the same whenever they are read.

        Raises:
            TaskError: a part is not what it must be.
        """
        from lrsearch.tasks.parts import PlainTask, Settings, dataset_splits  # here, because it imports this

        settings = Settings(name, batch_size, epochs, clip_norm, accumulate, amp)
        splits = dataset_splits((train, valid, test), collate, num_workers, resident)
        return PlainTask(model_factory, splits, loss, metrics or {}, training_step, settings)
