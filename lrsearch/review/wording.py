"""Hyperparameters in words, and as the lines of PyTorch that they mean."""

from collections.abc import Mapping
from typing import Any

from lrsearch.schedules import Hyperparameters, PyTorchScheduler, Schedule, kind_named
from lrsearch.spec import OPTIMIZERS

_PACKAGE = "torch.optim.lr_scheduler"
_UNSAID: Mapping[str, Any] = {
    "momentum": 0.0,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "nesterov": False,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
}


def number(value: float | None) -> str:
    """Return a number as short as it may be, four digits at the most."""
    return "-" if value is None else f"{value:.4g}"


def described(hyperparameters: Hyperparameters) -> str:
    """Return hyperparameters in one line, such as ``lr 0.1, StepLR(gamma 0.1), warm-up 5%``."""
    usual = {knob.name: knob.usual for knob in kind_named(hyperparameters.kind).knobs if not _searched(knob)}
    knobs = {name: value for name, value in hyperparameters.knobs.items() if usual.get(name) != value}
    parts = [f"lr {number(hyperparameters.lr)}", hyperparameters.kind + _in_brackets(knobs)]
    if hyperparameters.warmup_fraction:
        parts.append(f"warm-up {hyperparameters.warmup_fraction:.1%}")
    changed = {name: value for name, value in hyperparameters.optimizer.items() if _UNSAID.get(name) != value}
    return ", ".join([*parts, *(f"{name} {_short(value)}" for name, value in changed.items())])


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
    schedule = Schedule(hyperparameters, epochs, steps_per_epoch)
    arguments = [f"lr={hyperparameters.lr!r}", *_optimizer_arguments(optimizer, hyperparameters)]
    lines = [f"optimizer = torch.optim.{optimizer}(model.parameters(), {', '.join(arguments)})"]
    lines += _scheduler_lines(schedule)
    return ["import math", *lines] if any("math." in line for line in lines) else lines


def _scheduler_lines(schedule: Schedule) -> list[str]:
    pytorch = schedule.pytorch()
    if schedule.hyperparameters.kind == "constant":
        lines, clock = [], "epoch"
    else:
        lines, clock = [f"scheduler = {_call(pytorch)}"], pytorch.clock
    if pytorch.warmup_steps and clock == "step":
        return [*_sequential(pytorch), "# scheduler.step() after every update"]
    if lines:
        metric = "valid_loss" if pytorch.name == "ReduceLROnPlateau" else ""
        lines.append(f"# scheduler.step({metric}) after every {'update' if clock == 'step' else 'epoch'}")
    if pytorch.warmup_steps:
        lines += [f"warmup = {_rise(pytorch)}", "# warmup.step() after every update"]
    return lines


def _sequential(pytorch: PyTorchScheduler) -> list[str]:
    both = f"optimizer, [warmup, decay], milestones=[{pytorch.warmup_steps - 1}]"
    return [
        f"warmup = {_rise(pytorch)}",
        f"decay = {_call(pytorch)}",
        f"scheduler = {_PACKAGE}.SequentialLR({both})",
    ]


def _rise(pytorch: PyTorchScheduler) -> str:
    steps = pytorch.warmup_steps
    rise = f"start_factor=1 / {steps}, end_factor=1.0, total_iters={steps - 1}"
    return f"{_PACKAGE}.LinearLR(optimizer, {rise})"


def _call(pytorch: PyTorchScheduler) -> str:
    if pytorch.factor is not None:
        return f"{_PACKAGE}.LambdaLR(optimizer, lambda t: {pytorch.factor})"
    arguments = ", ".join(f"{name}={value!r}" for name, value in pytorch.arguments.items())
    return f"{_PACKAGE}.{pytorch.name}(optimizer, {arguments})"


def _optimizer_arguments(optimizer: str, hyperparameters: Hyperparameters) -> list[str]:
    """Return the arguments that differ from PyTorch's defaults for this optimizer, betas in any case."""
    knobs = dict(hyperparameters.optimizer)
    betas = [f"betas=({knobs.pop('beta1')!r}, {knobs.pop('beta2')!r})"] if "beta1" in knobs else []
    usual = {name: knob.usual for name, knob in OPTIMIZERS[optimizer].knobs.items()}
    return betas + [f"{name}={value!r}" for name, value in knobs.items() if usual.get(name) != value]


def _searched(knob: Any) -> bool:
    return not isinstance(knob.default, int | float | str)


def _in_brackets(knobs: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{name} {_short(value)}" for name, value in knobs.items())
    return f"({inside})" if inside else ""


def _short(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
