"""Hyperparameters in words, and as the lines of PyTorch that they mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrsearch.review.groups import has_scales, parameters_line, proportional, proportional_arguments
from lrsearch.schedules import Hyperparameters, PyTorchScheduler, Schedule
from lrsearch.schedules.hyperparameters import scale_name
from lrsearch.spec import OPTIMIZERS, optimizer_named

_PACKAGE = "torch.optim.lr_scheduler"
_UNSAID: Mapping[str, Any] = {
    name: knob.usual for kind in reversed(list(OPTIMIZERS.values())) for name, knob in kind.knobs.items()
}
_CLOSURE = (
    "# optimizer.step(closure), where closure() calls optimizer.zero_grad(), computes the loss, calls "
    "loss.backward() and returns the loss"
)
_MODES = (
    "# optimizer.train() before the updates of an epoch; optimizer.eval() before validating or saving,",
    "# where batch normalisation needs new statistics: with momentum None, reset_running_stats(), 50 batches",
)


def number(value: float | None) -> str:
    """Return a number as short as it may be, four digits at the most."""
    return "-" if value is None else f"{value:.4g}"


def capital(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[:1].upper() + text[1:]


def described(hyperparameters: Hyperparameters, optimizer: str | None = None) -> str:
    """Return hyperparameters in one line, such as ``lr 0.1, StepLR(gamma 0.1), warm-up 5%``.

    Args:
        hyperparameters: of a trial.
        optimizer: its class in ``torch.optim``, whose defaults go unsaid; None takes those of SGD and Adam
            before others'.
    """
    usual = {knob.name: knob.usual for knob in hyperparameters.schedule_kind.knobs if not _searched(knob)}
    knobs = {name: value for name, value in hyperparameters.knobs.items() if usual.get(name) != value}
    parts = [f"lr {number(hyperparameters.lr)}", hyperparameters.kind + _in_brackets(knobs)]
    if hyperparameters.warmup_fraction:
        parts.append(f"warm-up {hyperparameters.warmup_fraction:.1%}")
    unsaid = _usual(optimizer) if optimizer is not None else _UNSAID
    changed = {name: value for name, value in hyperparameters.optimizer.items() if unsaid.get(name) != value}
    parts += [f"{name} {_short(value)}" for name, value in changed.items()]
    return ", ".join([*parts, *_groups(hyperparameters)])


def described_parts(parts: Mapping[str | None, Hyperparameters], optimizer: str | None = None) -> str:
    """Return the hyperparameters of a trial in one line, each part's behind its name.

    Args:
        parts: hyperparameters by part; those of a study without parts below None.
        optimizer: as for :func:`described`.
    """
    words = {part: described(each, optimizer) for part, each in parts.items()}
    return "; ".join(line if part is None else f"{part}: {line}" for part, line in words.items())


@dataclass(frozen=True)
class SchedulerLines:
    """The statements that build a trial's schedulers, and those that step them.

    Args:
        building: where ``optimizer`` exists; none for a constant learning rate.
        after_update: after every update.
        after_epoch: after every epoch and its last update, when ``valid_loss`` is known.
        waiting: whether what follows an epoch's last update comes after ``after_epoch`` instead.
    """

    building: tuple[str, ...] = ()
    after_update: tuple[str, ...] = ()
    after_epoch: tuple[str, ...] = ()
    waiting: bool = False

    @property
    def comments(self) -> list[str]:
        """When to step what, as comments."""
        if self.waiting:
            [reported] = self.after_epoch
            updates = [f"# {line} after every update;" for line in self.after_update]
            return [*updates, f"# after an epoch's last one validate and {reported} first"]
        updates = [f"# {line} after every update" for line in self.after_update]
        return [
            *updates,
            *([f"# {', then '.join(self.after_epoch)} after every epoch"] if self.after_epoch else []),
        ]


@dataclass(frozen=True)
class PyTorchLines:
    """A trial in PyTorch, where ``torch`` and ``model`` exist.

    Args:
        imports: of what the other lines need.
        optimizer: lines that build ``optimizer``.
        scheduler: what builds and steps the schedulers.
    """

    imports: tuple[str, ...]
    optimizer: tuple[str, ...]
    scheduler: SchedulerLines


def in_pytorch(optimizer: str, schedule: Schedule) -> PyTorchLines:
    """Return a trial in PyTorch.

    Args:
        optimizer: its class in ``torch.optim``.
        schedule: its hyperparameters, and the run that they are for.
    """
    point = schedule.hyperparameters
    lines, parameters = parameters_line(point)
    arguments = [f"lr={point.lr!r}", *_optimizer_arguments(optimizer, point)]
    kind = optimizer_named(optimizer)
    lines.append(f"optimizer = {kind.package}.{optimizer}({parameters}, {', '.join(arguments)})")
    scheduler = _scheduler_lines(schedule)
    used = "\n".join([*lines, *scheduler.building])
    needed = {"math.": "import math", "fnmatchcase(": "from fnmatch import fnmatchcase"}
    imports = [line for name, line in needed.items() if name in used]
    package = [f"import {kind.package}"] if kind.is_schedule_free else []
    return PyTorchLines((*schedule.pytorch().imports, *package, *imports), tuple(lines), scheduler)


def pytorch_lines(
    optimizer: str, hyperparameters: Hyperparameters, epochs: int, steps_per_epoch: int
) -> list[str]:
    """Return the lines of PyTorch that build a trial's optimizer and scheduler.

    Args:
        optimizer: its class in ``torch.optim``.
        hyperparameters: of the trial.
        epochs: length of the run.
        steps_per_epoch: optimizer updates in an epoch.
    """
    lines = in_pytorch(optimizer, Schedule(hyperparameters, epochs, steps_per_epoch))
    closure = [_CLOSURE] if optimizer == "LBFGS" else []
    modes = _MODES if optimizer_named(optimizer).is_schedule_free else ()
    building, comments = lines.scheduler.building, lines.scheduler.comments
    return [*lines.imports, *lines.optimizer, *closure, *building, *comments, *modes]


def _scheduler_lines(schedule: Schedule) -> SchedulerLines:
    pytorch = proportional(schedule) if has_scales(schedule.hyperparameters) else schedule.pytorch()
    if pytorch.losses:
        return _lines_with_losses(schedule, pytorch)
    constant = schedule.hyperparameters.kind == "constant"
    rise = (f"warmup = {_rise(pytorch)}",) if pytorch.warmup_steps else ()
    if rise and pytorch.clock == "step" and not constant:
        return SchedulerLines(tuple(_sequential(schedule, pytorch)), ("scheduler.step()",))
    building = () if constant else (f"scheduler = {_call(schedule, pytorch)}",)
    step = f"scheduler.step({'valid_loss' if pytorch.name == 'ReduceLROnPlateau' else ''})"
    by_step = pytorch.clock == "step"
    return SchedulerLines(
        (*building, *rise),
        (*([step] if building and by_step else []), *(["warmup.step()"] if rise else [])),
        (step,) if building and not by_step else (),
    )


def _lines_with_losses(schedule: Schedule, pytorch: PyTorchScheduler) -> SchedulerLines:
    building = ("valid_losses = []", f"scheduler = {_call(schedule, pytorch)}")
    reported = "valid_losses.append(valid_loss)"
    if pytorch.clock == "epoch":
        return SchedulerLines(building, (), (reported, "scheduler.step()"))
    return SchedulerLines(building, ("scheduler.step()",), (reported,), waiting=True)


def _sequential(schedule: Schedule, pytorch: PyTorchScheduler) -> list[str]:
    both = f"optimizer, [warmup, decay], milestones=[{pytorch.warmup_steps - 1}]"
    return [
        f"warmup = {_rise(pytorch)}",
        f"decay = {_call(schedule, pytorch)}",
        f"scheduler = {_PACKAGE}.SequentialLR({both})",
    ]


def _rise(pytorch: PyTorchScheduler) -> str:
    steps = pytorch.warmup_steps
    rise = f"start_factor=1 / {steps}, end_factor=1.0, total_iters={steps - 1}"
    return f"{_PACKAGE}.LinearLR(optimizer, {rise})"


def _call(schedule: Schedule, pytorch: PyTorchScheduler) -> str:
    if pytorch.factor is not None:
        return f"{_PACKAGE}.LambdaLR(optimizer, lambda t: {pytorch.factor})"
    written = {name: repr(value) for name, value in pytorch.arguments.items()}
    if has_scales(schedule.hyperparameters):
        written = proportional_arguments(schedule, pytorch)
    arguments = ", ".join(f"{name}={value}" for name, value in written.items())
    return f"{_PACKAGE}.{pytorch.name}(optimizer, {arguments})"


def _optimizer_arguments(optimizer: str, hyperparameters: Hyperparameters) -> list[str]:
    """Return the arguments that differ from PyTorch's defaults for this optimizer."""
    kind = optimizer_named(optimizer)
    usual, mine = kind.arguments({}), kind.arguments(hyperparameters.optimizer)
    return [f"{name}={value!r}" for name, value in mine.items() if usual[name] != value]


def _usual(optimizer: str) -> dict[str, Any]:
    return {name: knob.usual for name, knob in optimizer_named(optimizer).knobs.items()}


def _groups(hyperparameters: Hyperparameters) -> list[str]:
    scales = [
        f"{scale_name(pattern)} {number(scale)}" for pattern, scale in hyperparameters.lr_scales.items()
    ]
    decay = hyperparameters.layer_decay
    decays = [f"layer_decay {number(decay)}"] if decay != 1 else []
    return [*scales, *decays, *(f"{pattern} frozen" for pattern in hyperparameters.frozen)]


def _searched(knob: Any) -> bool:
    return not isinstance(knob.default, int | float | str)


def _in_brackets(knobs: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{name} {_short(value)}" for name, value in knobs.items())
    return f"({inside})" if inside else ""


def _short(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
