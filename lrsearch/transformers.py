"""Searches with Hugging Face's ``Trainer``: a callback, optimizer and scheduler, and a search in one call.

It needs the extra ``transformers``: ``pip install 'lrsearch[transformers]'``.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Unpack

from lrsearch.api.arguments import as_table
from lrsearch.api.result import Result
from lrsearch.api.study_arguments import check_study_arguments, checked_metrics
from lrsearch.api.trained_weights import TrainedWeights
from lrsearch.api.trial import Trial
from lrsearch.api.trials import StudyArguments, train_trials
from lrsearch.errors import InputError
from lrsearch.foreign_warnings import foreign_warnings_hidden
from lrsearch.tasks.vision import import_torchvision
from lrsearch.training.averaging import put_judged_weights, put_training_weights
from lrsearch.training.devices import threads_for
from lrsearch.training.scheduler import ScheduleLR

try:
    import_torchvision()  # which transformers imports too, and without this care for its compiled operators
    import accelerate  # noqa: F401 # without which a Trainer cannot be made
    from transformers import (
        IntervalStrategy,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
        set_seed,
    )
except ModuleNotFoundError as missing:
    raise InputError(
        "lrsearch.transformers needs Hugging Face's transformers and accelerate, which are not installed: "
        "pip install 'lrsearch[transformers]'"
    ) from missing

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["TrialCallback", "attach", "optimize"]

MONITOR = "eval_loss"


class TrialCallback(TrainerCallback):
    """Reports the evaluation loss of every epoch to a trial, and ends the training where the trial ends.

    A trial that is pruned or has diverged raises :class:`lrsearch.TrialPruned` out of ``trainer.train``,
    which ends the block of :func:`lrsearch.trial`. A schedule-free optimizer is put into the mode that
    training and evaluation need.

    Args:
        trial: of :func:`lrsearch.trial`.
        monitor: name of the evaluation loss among the metrics.
        metrics: names of further metrics that are kept beside the loss.

    Raises:
        InputError: if the metrics are one text, or a name is one of what every report has.
    """

    def __init__(self, trial: Trial, monitor: str = MONITOR, metrics: Sequence[str] = ()) -> None:
        self._trial, self._monitor, self._metrics = trial, monitor, checked_metrics(metrics)
        self._ended_epoch: int | None = None  # the epoch whose evaluation is to be reported
        self._found: dict[str, float] = {}  # several data sets are evaluated one after the other

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse arguments whose length is not the trial's, or that do not evaluate after every epoch.

        Raises:
            InputError: if it is so.
        """
        _check_arguments(args)
        _check_epochs(args, self._trial)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the weights that train into the model.

        Raises:
            InputError: if the epoch before was evaluated without a metric that is to be reported.
        """
        self._check_reported()
        put_training_weights(_plain(kwargs["optimizer"]))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the weights that are judged into the model: what follows evaluates and saves."""
        put_judged_weights(_plain(kwargs["optimizer"]))
        self._ended_epoch, self._found = ceil(state.epoch or 0), {}  # one that was broken off counts too
        _catch_up(kwargs["lr_scheduler"], state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Report the epoch that has just ended; other evaluations are none of the trial's.

        Raises:
            TrialPruned: if the trial stops here.
        """
        self._found |= kwargs["metrics"]
        if self._ended_epoch is None or not self._found.keys() >= {self._monitor, *self._metrics}:
            return
        epoch, self._ended_epoch = self._ended_epoch, None
        figures = {name: float(self._found[name]) for name in self._metrics}
        self._trial.report(epoch, float(self._found[self._monitor]), **figures)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See that the last epoch was reported.

        Raises:
            InputError: if it was evaluated without a metric that is to be reported.
        """
        self._check_reported()

    def _check_reported(self) -> None:
        if self._ended_epoch is None:
            return
        missing = sorted({self._monitor, *self._metrics} - self._found.keys())
        known = ", ".join(map(repr, sorted(self._found))) or "nothing"
        raise InputError(
            f"the evaluation after epoch {self._ended_epoch} gives no {', '.join(map(repr, missing))}, but "
            f"{known}; monitor and metrics name others, and a loss needs labels in the evaluation data"
        )


def attach(
    trainer: Trainer, trial: Trial, *, monitor: str = MONITOR, metrics: Sequence[str] = ()
) -> "tuple[Optimizer, ScheduleLR]":
    """Give a trainer a trial's optimizer and scheduler, and the callback that reports to the trial.

    Args:
        trainer: before its ``train``; its arguments have the trial's epochs and ``eval_strategy="epoch"``.
        trial: of :func:`lrsearch.trial`.
        monitor: name of the evaluation loss among the metrics.
        metrics: names of further metrics that are kept beside the loss.

    Returns:
        the pair that the trainer now has, which ``Trainer(optimizers=...)`` would have taken.

    Raises:
        InputError: if the trainer's arguments do not fit the trial, the metrics cannot be reported, or the
            optimizer is one that a ``Trainer`` cannot step.
    """
    callback = TrialCallback(trial, monitor, metrics)
    _check_trainer(trainer)
    _check_epochs(trainer.args, trial)
    optimizer, scheduler = trial.build(_model(trainer), steps_per_epoch=updates_per_epoch(trainer))
    _check_optimizer(type(optimizer).__name__)
    trainer.optimizer = optimizer
    trainer.lr_scheduler = scheduler  # type: ignore[assignment]  # any scheduler will do
    trainer.add_callback(callback)
    return optimizer, scheduler


def optimize(
    trainer: Callable[[], Trainer],
    *,
    trials: int = 20,
    monitor: str = MONITOR,
    metrics: Sequence[str] = (),
    seed: int = 0,
    **study: Unpack[StudyArguments],
) -> Result:
    """Search the learning rate and its schedule for a ``Trainer``, in one call.

    Each trial trains a new one, from the same random numbers. Its epochs are ``num_train_epochs`` of its
    arguments, which must say ``eval_strategy="epoch"``; ``learning_rate``, ``lr_scheduler_type``,
    ``warmup_steps`` and ``optim`` are not looked at: optimizer and scheduler are the trial's. The usual
    optimizer is AdamW with ``weight_decay``, ``adam_beta1``, ``adam_beta2`` and ``adam_epsilon`` of the
    arguments. Unlike a ``Trainer``'s own, it decays all parameters, biases and norms too, where the weight
    decay is not 0.

    Args:
        trainer: makes a trainer with a new model.
        trials: budget, at least 1.
        monitor: name of the evaluation loss among the metrics.
        metrics: names of further metrics that are kept beside the loss.
        seed: of weights, batch order and sampler, in the place of ``seed`` of the arguments; their
            ``data_seed``, if they have one, decides the batch order.
        study: ``name``, ``optimizer``, ``space``, ``groups``, ``kinds``, ``sampler``, ``pruner``, ``storage``
            and ``progress``, as :func:`lrsearch.optimize` takes them. An ``optimizer`` given here has its
            own usual parameters.

    Returns:
        the best trial, ready to be built, and the study.

    Raises:
        InputError: if an argument, or an argument of the trainer, cannot be used.
        StudyStoppedError: if no trial completed.
    """
    _check_search(metrics, study)
    trained = TrainedWeights("trainer", "def trainer(): return Trainer(model=BertForMaskedLM(config), ...)")

    def train(trial: Trial) -> None:
        made = _made(trainer, seed)
        trained.add(_model(made))
        attach(made, trial, monitor=monitor, metrics=metrics)
        with threads_for(_model(made), made.args.device):
            made.train()

    args = _checked_args(_made(trainer, seed))
    gc.collect()  # that trainer and its model refer to each other: the first trial may need their memory
    study.setdefault("optimizer", _usual_optimizer(args))
    caller = "lrsearch.transformers.optimize"
    with foreign_warnings_hidden():
        return train_trials(
            train, caller, trials=trials, epochs=int(args.num_train_epochs), seed=seed, **study
        )


def updates_per_epoch(trainer: Trainer) -> int:
    """Return how many updates a trainer makes in an epoch.

    Args:
        trainer: whose training data has a length.

    Raises:
        InputError: if the data has none.
    """
    batches = trainer.get_train_dataloader()
    try:
        count = len(batches)
    except TypeError:
        raise InputError(
            "the schedule needs to know how many updates an epoch has, but the training data has no length: "
            "give it a data set with __len__"
        ) from None
    return max(1, -(-count // trainer.args.gradient_accumulation_steps))


def _made(trainer: Callable[[], Trainer], seed: int) -> Trainer:
    """Return a new trainer, with the model that the seed gives."""
    set_seed(seed)
    made: object = trainer() if callable(trainer) else trainer
    if not (callable(trainer) and isinstance(made, Trainer)):
        raise InputError(
            "trainer makes a new Trainer for each trial, with a new model, such as a function that returns "
            f"Trainer(model=..., args=...), but got {made!r:.80}"
        )
    # Again, for a Trainer begins with the seed of its arguments, which would decide the batch order.
    made.args.seed = seed
    set_seed(seed)
    return made


def _checked_args(trainer: Trainer) -> TrainingArguments:
    """Return the arguments of a trainer that a search can use."""
    _check_trainer(trainer)
    epochs = trainer.args.num_train_epochs
    if epochs != int(epochs):
        raise InputError(f"num_train_epochs must be a whole number of epochs, but got {epochs:g}")
    return trainer.args


def _usual_optimizer(args: TrainingArguments) -> dict[str, Any]:
    """Return the table ``[optimizer]`` of what a ``Trainer`` would train with."""
    betas = {"beta1": args.adam_beta1, "beta2": args.adam_beta2}
    return {"name": "AdamW", "weight_decay": args.weight_decay, **betas, "eps": args.adam_epsilon}


def _model(trainer: Trainer) -> "nn.Module":
    model: nn.Module = trainer.model  # type: ignore[assignment]  # None in the class alone
    return model


def _check_search(metrics: Sequence[str], study: Mapping[str, Any]) -> None:
    if "epochs" in study:
        raise InputError(
            "num_train_epochs of the trainer's arguments says how many epochs a trial has: leave "
            f"epochs={study['epochs']!r:.80} out"
        )
    check_study_arguments(optimize, study)
    checked_metrics(metrics)
    if "optimizer" in study:
        _check_optimizer(as_table(study["optimizer"]).get("name"))


def _check_optimizer(name: object) -> None:
    if name == "LBFGS":
        raise InputError(
            f"{name} computes a batch's loss several times in an update, which a Trainer does not let it: "
            "take another optimizer, such as AdamW"
        )


def _check_trainer(trainer: Trainer) -> None:
    _check_arguments(trainer.args)
    if trainer.model_init is not None:
        raise InputError(
            "where a Trainer makes its model itself, it drops the optimizer that it is given: "
            "Trainer(model=..., args=...) instead of model_init"
        )


def _check_epochs(args: TrainingArguments, trial: Trial) -> None:
    if args.num_train_epochs != trial.epochs:
        raise InputError(
            f"a trial of study {trial.study!r} has {trial.epochs} epochs, and a schedule for these, but "
            f"the arguments have num_train_epochs={args.num_train_epochs:g}: "
            "TrainingArguments(num_train_epochs=trial.epochs)"
        )


def _check_arguments(args: TrainingArguments) -> None:
    if args.max_steps > 0:
        raise InputError(
            f"a trial's length is a number of epochs, but the arguments have max_steps={args.max_steps}: "
            "TrainingArguments(num_train_epochs=...) instead"
        )
    strategy = IntervalStrategy(args.eval_strategy)
    if strategy is not IntervalStrategy.EPOCH:
        raise InputError(
            "trials are compared by the loss after every epoch, but the arguments have "
            f"eval_strategy={strategy.value!r}: TrainingArguments(eval_strategy='epoch')"
        )
    if args.eval_delay > 1:
        raise InputError(
            "trials are compared by the loss after every epoch, but the arguments have "
            f"eval_delay={args.eval_delay:g}, so that the first epochs have none: leave it out"
        )
    if args.auto_find_batch_size:
        raise InputError(
            "the schedule needs to know how many updates an epoch has, but the arguments have "
            "auto_find_batch_size=True, which changes it on the way: leave it out"
        )


def _catch_up(scheduler: object, state: TrainerState) -> None:
    """Bring the schedule to where the training is at the end of an epoch: then its loss is expected.

    Where half precision makes an update overflow, the Trainer counts it and leaves the scheduler out. An
    epoch that was broken off counts as a whole one.
    """
    if not isinstance(scheduler, ScheduleLR):
        return
    epochs, due = state.epoch or 0, state.global_step
    if epochs < ceil(epochs):
        due = ceil(epochs) * scheduler.schedule.steps_per_epoch
    while scheduler.last_epoch < due:
        scheduler.step()


def _plain(optimizer: Any) -> "Optimizer":
    """Return an optimizer inside of accelerate's wrapper."""
    plain: Optimizer = getattr(optimizer, "optimizer", optimizer)
    return plain
