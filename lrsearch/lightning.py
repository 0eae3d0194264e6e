"""Searches with Lightning: a callback, ``configure_optimizers``, and a search in one call.

It needs the extra ``lightning``: ``pip install 'lrsearch[lightning]'``.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar, Unpack

from torch.utils.hooks import RemovableHandle

from lrsearch.api.result import Result
from lrsearch.api.study_arguments import check_study_arguments, checked_metrics
from lrsearch.api.trained_weights import TrainedWeights
from lrsearch.api.trial import Trial
from lrsearch.api.trials import StudyArguments, check_alone, train_trials
from lrsearch.errors import InputError
from lrsearch.foreign_warnings import foreign_warnings_hidden
from lrsearch.tasks.vision import import_torchvision
from lrsearch.training.averaging import put_judged_weights, put_training_weights
from lrsearch.training.devices import threads_for
from lrsearch.training.scheduler import ScheduleLR

try:
    import_torchvision()  # which Lightning imports too, and without this care for its compiled operators
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
    from lightning.pytorch.callbacks import Checkpoint, ProgressBar
except ModuleNotFoundError as missing:
    raise InputError(
        "lrsearch.lightning needs Lightning, which is not installed: pip install 'lrsearch[lightning]'"
    ) from missing

__all__ = ["TrialCallback", "configure_optimizers", "optimize"]

MONITOR = "val_loss"
_USUAL = {
    "devices": 1,  # of which Lightning would take all that there are
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}
_FLAGS = {Checkpoint: "enable_checkpointing", ProgressBar: "enable_progress_bar"}  # which such callbacks need

Value = TypeVar("Value")


class TrialCallback(Callback):
    """Reports the validation loss of every epoch to a trial, and ends the fit where the trial ends.

    A trial that is pruned or has diverged raises :class:`lrsearch.TrialPruned` out of ``trainer.fit``, which
    ends the block of :func:`lrsearch.trial`. A schedule-free optimizer is put into the mode that training and
    validation need.

    Args:
        trial: of :func:`lrsearch.trial`.
        monitor: name under which the module logs its validation loss.
        metrics: names of further logged figures that are kept beside the loss.

    Raises:
        InputError: if the metrics are one text, or a name is one of what every report has.
    """

    def __init__(self, trial: Trial, monitor: str = MONITOR, metrics: Sequence[str] = ()) -> None:
        self._trial, self._monitor, self._metrics = trial, monitor, checked_metrics(metrics)
        self._validated = False
        self._lead: int | None = None  # of the scheduler before the updates
        self._in_batch = False
        self._watches: list[RemovableHandle] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a trainer whose length is not the trial's, or that does not validate.

        Raises:
            InputError: if it is so.
        """
        _check_trainer(trainer, self._trial)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that the module logs its loss under that name, before an epoch is trained for nothing.

        Raises:
            InputError: if it has logged other figures alone.
        """
        if trainer.callback_metrics:  # some modules log nothing here
            _logged(trainer, self._monitor, "; for what it logs later alone, Trainer(num_sanity_val_steps=0)")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch that every update has the rate of the trial's schedule, where Lightning steps it."""
        self._lead, self._in_batch = _lead(trainer), False
        if pl_module.automatic_optimization:
            self._watches = [
                each.register_step_post_hook(lambda *_: _check_rates(trainer)) for each in trainer.optimizers
            ]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch no longer: by its optimizer a trial would keep the trainer and the module."""
        for each in self._watches:
            each.remove()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Watch no longer."""
        self.on_train_end(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the weights that train into the module, where a validation has put others in."""
        self._in_batch = True
        for optimizer in trainer.optimizers:
            put_training_weights(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """See that the trial's scheduler was stepped after every update, and by nobody else.

        Raises:
            InputError: if it was not.
        """
        was_begun, self._in_batch = self._in_batch, False
        lead, expected = _lead(trainer), self._lead
        if not was_begun:  # the loader gave None, and Lightning stepped all the same
            self._lead = lead
            return
        if lead is None or expected is None or not pl_module.automatic_optimization:
            return
        if lead != expected:
            raise InputError(
                f"Lightning steps the trial's scheduler once after every update, but after update "
                f"{trainer.global_step} it is off by {lead - expected:+d}: leave out what steps it in the "
                "module, or stops Lightning, such as lr_scheduler_step or self.lr_schedulers().step()"
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights that are judged into the module: what follows validates, reports and saves."""
        for optimizer in trainer.optimizers:
            put_judged_weights(optimizer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that there is a loss to report."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch, if it was validated.

        Raises:
            TrialPruned: if the trial stops here.
            InputError: if the module has logged no loss of that name.
        """
        if self._in_batch:  # a hook of the module has cut the epoch short, and Lightning stepped all the same
            self._lead, self._in_batch = _lead(trainer), False
        if not self._validated:
            return
        self._validated = False
        figures = {name: _logged(trainer, name) for name in self._metrics}
        self.on_validation_start(trainer, pl_module)  # batches may have come after the last validation
        self._complete_epoch(trainer)
        self._trial.report(trainer.current_epoch + 1, _logged(trainer, self._monitor), **figures)

    def _complete_epoch(self, trainer: Trainer) -> None:
        """Bring the schedule to the end of an epoch that was broken off: only then is its loss expected."""
        for scheduler in () if trainer.is_last_batch else _schedulers(trainer):
            while scheduler.last_epoch < (trainer.current_epoch + 1) * scheduler.schedule.steps_per_epoch:
                scheduler.step()
                self._lead = None if self._lead is None else self._lead + 1

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the weights that are judged in the module."""
        for optimizer in trainer.optimizers:
            put_judged_weights(optimizer)


def configure_optimizers(module: LightningModule, trial: Trial) -> dict[str, Any]:
    """Return what ``configure_optimizers`` of a module returns: a trial's optimizer, and its scheduler.

    The scheduler is stepped after every update, however many batches' gradients make one.

    Args:
        module: attached to its trainer, as it is where Lightning calls ``configure_optimizers``.
        trial: of :func:`lrsearch.trial`; the trainer has a :class:`TrialCallback` of it.

    Raises:
        InputError: if the trainer's length is not the trial's, the number of updates is not known, the module
            has its own way to optimize, or the schedule lacks losses.
    """
    trainer = module.trainer
    _check_trainer(trainer, trial)
    if not module.automatic_optimization:
        raise InputError(
            "Lightning steps the trial's scheduler in automatic optimization, but the module has "
            "automatic_optimization=False: leave it out, or train the trials with a loop of your own and "
            "lrsearch.trial()"
        )
    updates = trainer.estimated_stepping_batches
    if trainer.max_steps != -1 or updates == float("inf") or updates < trial.epochs:
        raise InputError(
            "the schedule needs to know how many updates an epoch has, but Lightning expects "
            f"{updates} updates in {trial.epochs} epochs: leave max_steps out, and give an iterable data set "
            "a length with Trainer(limit_train_batches=...)"
        )
    optimizer, scheduler = trial.build(module, steps_per_epoch=int(updates) // trial.epochs)
    kind, every = scheduler.schedule.kind, trainer.check_val_every_n_epoch
    if kind.needs_feedback and every != 1:
        raise InputError(
            f"{kind.name} waits for the loss of every epoch, but the trainer has "
            f"check_val_every_n_epoch={every}: leave it out, or leave {kind.name} out of the study's kinds"
        )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def optimize(
    module: Callable[[], LightningModule],
    datamodule: LightningDataModule | None = None,
    *,
    epochs: int,
    trials: int = 20,
    monitor: str = MONITOR,
    metrics: Sequence[str] = (),
    trainer: Mapping[str, Any] | None = None,
    seed: int = 0,
    **study: Unpack[StudyArguments],
) -> Result:
    """Search the learning rate and its schedule for a LightningModule, in one call.

    Each trial trains a new module. Its own ``configure_optimizers`` is not called: optimizer and scheduler
    are the trial's. All trials begin with the same weights and have the same order of batches, as far as
    Lightning's ``seed_everything`` decides them.

    Args:
        module: makes a new module, such as its class.
        datamodule: trains and validates all trials; None where the module has data of its own.
        epochs: of a trial that is not stopped early, at least 1.
        trials: budget, at least 1.
        monitor: name under which the module logs its validation loss.
        metrics: names of further logged figures that are kept beside the loss.
        trainer: arguments of ``Trainer``; without any, it has one device, and logs, shows and saves nothing.
            Each trial has copies of the callbacks and loggers.
        seed: of weights, batch order and sampler.
        study: ``name``, ``optimizer``, ``space``, ``groups``, ``kinds``, ``sampler``, ``pruner``, ``storage``
            and ``progress``, as :func:`lrsearch.optimize` takes them.

    Returns:
        the best trial, ready to be built, and the study.

    Raises:
        InputError: if an argument cannot be used, or what the module logs.
        StudyStoppedError: if no trial completed.
    """
    caller = "lrsearch.lightning.optimize"
    check_study_arguments(optimize, study)
    metrics = checked_metrics(metrics)
    _check_makers(module, datamodule)
    arguments = _checked_arguments(trainer, epochs)
    trained = TrainedWeights("module", "lambda: Net(width=64)")

    def train(trial: Trial) -> None:
        seed_everything(seed, verbose=False)
        made = module()
        _check_made(made)
        trained.add(made)
        plain = _plain(made)
        # An attribute of this module alone, which Lightning finds before the method of its class.
        vars(plain)["configure_optimizers"] = lambda: configure_optimizers(plain, trial)
        fit = _trainer(arguments, trial.epochs, TrialCallback(trial, monitor, metrics))
        try:
            with threads_for(made, fit.strategy.root_device), _interrupts_raised():
                fit.fit(made, datamodule=datamodule)
        finally:
            if datamodule is not None:
                datamodule.trainer = None  # by which it would keep the module while the next one trains

    with _devices_unsaid(), foreign_warnings_hidden():
        check_alone(caller, _trainer(arguments, 1).world_size)
        return train_trials(train, caller, trials=trials, epochs=epochs, seed=seed, **study)


def _trainer(arguments: Mapping[str, Any], epochs: int, *callbacks: Callback) -> Trainer:
    """Return a trainer with callbacks and loggers of its own: a trial must not know what another taught them.

    Raises:
        InputError: if one of them cannot be copied.
    """
    given = arguments.get("callbacks") or ()
    copies = _copied("callbacks", [given] if isinstance(given, Callback) else list(given))
    asked = {flag for kind, flag in _FLAGS.items() if any(isinstance(each, kind) for each in copies)}
    usual = {name: value for name, value in _USUAL.items() if name not in asked}
    own = {"callbacks": [*copies, *callbacks], "max_epochs": epochs}
    # A logger takes the next free version when it is first used: each copy has one of its own.
    logger = _copied("logger", arguments["logger"]) if "logger" in arguments else usual["logger"]
    return Trainer(**{**usual, **arguments, **own, "logger": logger})


def _copied(argument: str, given: Value) -> Value:
    try:
        return deepcopy(given)
    except TypeError as error:
        raise InputError(
            f"each trial has copies of trainer's {argument}, but one cannot be copied ({error}): "
            "leave it out, or train the trials with a script of your own and lrsearch.trial()"
        ) from error


def _plain(module: Any) -> Any:
    """Return a module inside of what ``torch.compile`` returns: Lightning asks it for its optimizers."""
    return getattr(module, "_orig_mod", module)


def _check_makers(module: object, datamodule: object) -> None:
    for argument, each in (("module", module), ("datamodule", datamodule)):
        _refuse_other_package(argument, each)
    if not callable(module) or isinstance(_plain(module), LightningModule) or _is_other_class(module):
        raise InputError(
            "module makes a new LightningModule for each trial, such as its class Net or lambda: "
            f"Net(width=64), but got {module!r:.80}"
        )
    if not isinstance(datamodule, LightningDataModule | None):
        raise InputError(
            "datamodule is a LightningDataModule, not its class and no DataLoader, such as Data(), or "
            "LightningDataModule.from_datasets(train_set, valid_set, batch_size=32) around data sets; got "
            f"{datamodule!r:.80}"
        )


def _check_made(made: object) -> None:
    _refuse_other_package("module", made)
    if not isinstance(_plain(made), LightningModule):
        raise InputError(
            "module makes a new LightningModule for each trial, such as its class Net or lambda: "
            f"Net(width=64), but made {made!r:.80}"
        )


def _is_other_class(module: object) -> bool:
    return isinstance(module, type) and not issubclass(module, LightningModule)


def _refuse_other_package(argument: str, given: object) -> None:
    """Refuse what belongs to the package pytorch_lightning: to the package lightning it is a stranger."""
    given_class = given if isinstance(given, type) else type(_plain(given))
    if any(each.__module__.partition(".")[0] == "pytorch_lightning" for each in given_class.__mro__):
        raise InputError(
            f"the search uses the package lightning, but {argument} is of the package pytorch_lightning: "
            f"import lightning.pytorch as pl; got {given!r:.80}"
        )


def _checked_arguments(arguments: Mapping[str, Any] | None, epochs: int) -> Mapping[str, Any]:
    """Return the arguments of ``Trainer`` that a search is given."""
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        raise InputError(
            "trainer is a table of Trainer's arguments, as each trial has a trainer of its own, such as "
            f"trainer={{'accelerator': 'cpu'}}, but got {arguments!r:.80}"
        )
    if taken := sorted({"max_epochs", "max_steps", "fast_dev_run"} & arguments.keys()):
        raise InputError(f"a trial's length is epochs={epochs}: leave {', '.join(taken)} out of trainer")
    every = arguments.get("check_val_every_n_epoch", 1)
    if every != 1:
        raise InputError(
            "trials are compared after every epoch, and some schedules wait for its loss, but trainer has "
            f"check_val_every_n_epoch={every}: leave it out; limit_val_batches makes validation shorter"
        )
    return arguments


def _check_trainer(trainer: Trainer, trial: Trial) -> None:
    if trainer.max_epochs != trial.epochs:
        raise InputError(
            f"a trial of study {trial.study!r} has {trial.epochs} epochs, and a schedule for these, but "
            f"the trainer has max_epochs={trainer.max_epochs}: Trainer(max_epochs=trial.epochs)"
        )
    if trainer.world_size > 1 and not trial.shared:
        raise InputError(
            f"{trainer.world_size} processes train together, but each has begun a trial of its own: start "
            "them with torchrun, and call torch.distributed.init_process_group() before lrsearch.trial()"
        )
    if not trainer.enable_validation:
        raise InputError(
            "trials are compared by their validation loss, but this trainer validates nothing: give it "
            "validation batches, and the module a validation_step"
        )


def _schedulers(trainer: Trainer) -> list[ScheduleLR]:
    """Return the trial's schedulers among a trainer's: a callback may have put others in."""
    schedulers = (config.scheduler for config in trainer.lr_scheduler_configs)
    return [each for each in schedulers if isinstance(each, ScheduleLR)]


def _lead(trainer: Trainer) -> int | None:
    """Return how many steps the trial's scheduler is before the trainer's updates; None without one."""
    return next((each.last_epoch - trainer.global_step for each in _schedulers(trainer)), None)


def _check_rates(trainer: Trainer) -> None:
    """Refuse an update with other learning rates than the trial's schedule gave it."""
    for scheduler in _schedulers(trainer):
        due = scheduler.get_last_lr()
        found = [group["lr"] for group in scheduler.optimizer.param_groups]
        if found != due:
            raise InputError(
                f"each update has the learning rate of the trial's schedule, {_rates(due)}, but update "
                f"{trainer.global_step + 1} had {_rates(found)}: leave out what sets it in the module's "
                "optimizer_step, another of its hooks or a callback, such as a warm-up of your own"
            )


def _rates(rates: Sequence[Any]) -> str:
    return ", ".join(f"{float(each):g}" for each in dict.fromkeys(rates))


def _logged(trainer: Trainer, name: str, further_help: str = "") -> float:
    logged = trainer.callback_metrics
    if name not in logged:
        known = ", ".join(map(repr, sorted(logged))) or "nothing"
        raise InputError(
            f"the module has not logged {name!r}, but {known}: in validation_step, "
            f"self.log({name!r}, ...); monitor and metrics name others{further_help}"
        )
    return float(logged[name])


@contextmanager
def _devices_unsaid() -> Iterator[None]:
    """Keep Lightning from saying before each trial which devices there are."""
    loggers = [logging.getLogger(f"lightning.pytorch{name}") for name in ("", ".utilities.rank_zero")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextmanager
def _interrupts_raised() -> Iterator[None]:
    """Let Ctrl-C end a search as it ends any, where Lightning makes an exit of it."""
    try:
        yield
    except SystemExit as left:
        if not isinstance(left.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None
