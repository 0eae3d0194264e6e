"""Parameter groups as lines of PyTorch, and the schedulers that keep them in proportion."""

from dataclasses import replace

from lrsearch.schedules import Hyperparameters, PyTorchScheduler, Schedule
from lrsearch.schedules.expressions import with_warmup

_EACH = "for group in optimizer.param_groups"


def parameters_line(hyperparameters: Hyperparameters) -> tuple[list[str], str]:
    """Return the lines that sort a model's parameters, and the expression that an optimizer is given.

    Args:
        hyperparameters: whose ``lr_scales``, ``layer_decay`` and ``frozen`` are meant.
    """
    lines = _freezing(hyperparameters.frozen)
    if has_scales(hyperparameters):
        lr = hyperparameters.lr
        groups = f'[{{"params": params, "lr": {lr!r} * scale}} for scale, params in groups.items()]'
        lines, expression = [*lines, *_grouping(hyperparameters)], groups
    elif lines:
        expression = "[p for p in model.parameters() if p.requires_grad]"
    else:
        expression = "model.parameters()"
    return lines, expression


def has_scales(hyperparameters: Hyperparameters) -> bool:
    """Return whether some parameters train with another learning rate than others."""
    return bool(hyperparameters.lr_scales) or hyperparameters.layer_decay != 1


def proportional(schedule: Schedule) -> PyTorchScheduler:
    """Return a schedule's PyTorch in a form that keeps groups in proportion.

    PyTorch's cosines go down to one ``eta_min`` for all groups: unless that is 0, they become factors.
    """
    pytorch, knobs = schedule.pytorch(), schedule.hyperparameters.knobs
    if not pytorch.arguments.get("eta_min"):
        return pytorch
    position = _cosine_position(pytorch, schedule.total_steps)
    end = knobs["end_factor"]
    factor = f"{end!r} + {1 - end!r} * (1 + math.cos(math.pi * {position})) / 2"
    factor = with_warmup(factor, pytorch.warmup_steps)
    return replace(pytorch, name="LambdaLR", arguments={}, warmup_steps=0, factor=factor)


def proportional_arguments(schedule: Schedule, pytorch: PyTorchScheduler) -> dict[str, str]:
    """Return a scheduler's arguments as Python, its learning rates as lists with one for each group."""
    arguments = {name: repr(value) for name, value in pytorch.arguments.items()}
    knobs = schedule.hyperparameters.knobs
    if "max_lr" in arguments:
        arguments["max_lr"] = f'[group["lr"] {_EACH}]'
    if "base_lr" in arguments:
        arguments["base_lr"] = f'[{knobs["base_factor"]!r} * group["lr"] {_EACH}]'
    if pytorch.arguments.get("min_lr"):
        arguments["min_lr"] = f'[{knobs["min_factor"]!r} * group["lr"] {_EACH}]'
    if pytorch.name == "ReduceLROnPlateau":
        arguments["eps"] = "0"  # else groups of small rates would leave out cuts that the others make
    return arguments


def _freezing(frozen: tuple[str, ...]) -> list[str]:
    if not frozen:
        return []
    return [
        "for name, parameter in model.named_parameters():",
        f"    if any(fnmatchcase(name, pattern) for pattern in {list(frozen)!r}):",
        "        parameter.requires_grad_(False)",
    ]


def _grouping(hyperparameters: Hyperparameters) -> list[str]:
    """Return the lines that gather the parameters that train, by their factor on the learning rate."""
    scales, decay = hyperparameters.lr_scales, hyperparameters.layer_decay
    factors, start, body = [], ["groups = {}"], []
    if scales:
        start = [f"scales = {dict(scales) | ({} if '*' in scales else {'*': 1.0})!r}", *start]
        factors.append("next(scale for pattern, scale in scales.items() if fnmatchcase(name, pattern))")
    if decay != 1:
        owners = 'n.rpartition(".")[0] for n, p in model.named_parameters() if p.ndim > 1'
        start = [f"layers = list(dict.fromkeys({owners}))", *start, "layer = 0"]
        body = [
            'owner = name.rpartition(".")[0]',
            "layer = layers.index(owner) if owner in layers else layer",
        ]
        factors.append(f"{decay!r} ** len(layers[layer + 1:])")
    body += [f"scale = {' * '.join(factors)}", "if parameter.requires_grad:"]
    gathered = "        groups.setdefault(scale, []).append(parameter)"
    loop = "for name, parameter in model.named_parameters():"
    return [*start, loop, *(f"    {line}" for line in body), gathered]


def _cosine_position(pytorch: PyTorchScheduler, steps: int) -> str:
    """Return where in its cycle a cosine is, 0 to 1, as Python in the step ``{u}`` after the warm-up."""
    if pytorch.name == "CosineAnnealingLR":
        return f"{{u}} / {pytorch.arguments['T_max']}"
    length, ratio = pytorch.arguments["T_0"], pytorch.arguments["T_mult"]
    if ratio == 1:
        return f"({{u}} % {length} / {length})"
    cycles, start = [], 0
    while start <= steps:
        cycles.append((start, length))
        start, length = start + length, length * ratio
    return f"next(({{u}} - start) / steps for start, steps in {cycles[::-1]} if start <= {{u}})"
