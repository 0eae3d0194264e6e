"""Well-known configurations that a search must beat before it is worth its cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrsearch.optimizers import optimizer_named
from lrsearch.parameters import Choice, Range, Scalar
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import StudySpec

WARMUP_FRACTION = 0.05
USUAL_MOMENTUM = 0.9


def tutorial_recipe(spec: StudySpec) -> Hyperparameters:
    """Return the recipe of PyTorch tutorials: SGD with lr 0.1, cut to a tenth where the loss stands still.

    Its patience is 5, or what can act within the study's epochs.

    Args:
        spec: resolved, with the optimizer SGD.
    """
    epochs = spec.epochs or 1
    knobs = {"factor": 0.1, "patience": max(0, min(5, epochs // 4, epochs - 3))}
    return _point(spec, 0.1, "ReduceLROnPlateau", knobs, momentum=0.0)


def default_rate(spec: StudySpec, lr: float) -> Hyperparameters:
    """Return an optimizer's own learning rate, kept constant.

    Args:
        spec: resolved.
        lr: PyTorch's default for the study's optimizer.
    """
    return _point(spec, lr, "constant", {})


def linear_decay(spec: StudySpec, lr: float) -> Hyperparameters:
    """Return linear decay to zero after a short warm-up, with momentum 0.9 where the study allows it.

    Source: arXiv 2310.07831, which finds it the best schedule that needs no tuning but of its rate.
    """
    knobs = {"end_factor": 0.0}
    return _point(spec, lr, "LinearLR", knobs, WARMUP_FRACTION, momentum=USUAL_MOMENTUM)


def one_cycle(spec: StudySpec, lr: float, optimizer: Mapping[str, Scalar]) -> Hyperparameters:
    """Return one cycle as PyTorch's ``OneCycleLR`` has it by default, up to a learning rate.

    Source: arXiv 1708.07120.

    Args:
        spec: resolved.
        lr: peak, as a range test suggests it.
        optimizer: the optimizer's values in that test, without which its suggestion means nothing.
    """
    knobs = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}
    return replace(_point(spec, lr, "OneCycleLR", knobs), optimizer=dict(optimizer))


def schedule_free(spec: StudySpec, lr: float) -> Hyperparameters:
    """Return a learning rate that stays as it is after a short warm-up, as schedule-free optimizers want it.

    Source: arXiv 2405.15682.

    Args:
        spec: resolved, with a schedule-free optimizer.
        lr: after the warm-up.
    """
    return _point(spec, lr, "constant", {}, WARMUP_FRACTION)


def spread_rates(spec: StudySpec, count: int) -> list[float]:
    """Return learning rates that a first look tries: spread over the study's range, its ends left out.

    Args:
        spec: resolved.
        count: at least 1; a study that fixes or lists its rates has no more than these, of a list with more
            they are spread over it.
    """
    domain = spec.space.lr
    if isinstance(domain, Choice):
        options = sorted({float(option) for option in domain.options})
        kept = min(count, len(options))
        return [options[(2 * place + 1) * len(options) // (2 * kept)] for place in range(kept)]
    if not isinstance(domain, Range):
        return [float(domain)]
    low, high = math.log(domain.low), math.log(domain.high)
    return [math.exp(low + (high - low) * (place + 0.5) / count) for place in range(count)]


def rates_around(best: float, tried: Sequence[float], count: int) -> list[float]:
    """Return learning rates that a second look tries: between the best and its neighbours.

    Args:
        best: among ``tried``.
        tried: in rising order.
        count: at least 0, shared by both sides.
    """
    place = tried.index(best)
    first, last = (math.log(tried[i + 1] / tried[i]) if len(tried) > 1 else math.log(4) for i in (0, -2))
    below = math.log(tried[place - 1]) if place else math.log(best) - first
    above = math.log(tried[place + 1]) if place + 1 < len(tried) else math.log(best) + last
    left, center = count // 2, math.log(best)
    right = count - left
    return [
        *(math.exp(center + (below - center) * (i + 1) / (left + 1)) for i in range(left)),
        *(math.exp(center + (above - center) * (i + 1) / (right + 1)) for i in range(right)),
    ]


def _point(
    spec: StudySpec,
    lr: float,
    kind: str,
    knobs: dict[str, Any],
    warmup_fraction: float = 0.0,
    momentum: float | None = None,
) -> Hyperparameters:
    """Return hyperparameters whose rest is what the study fixes, or PyTorch's default."""
    wanted = {} if momentum is None else {"momentum": momentum}
    groups = spec.groups
    patterns = groups.patterns if groups else {}
    return Hyperparameters(
        lr=lr,
        kind=kind,
        knobs=knobs,
        warmup_fraction=warmup_fraction,
        optimizer=_optimizer_values(spec, wanted),
        lr_scales={
            pattern: float(_fixed(group.lr_scale, 1.0))
            for pattern, group in patterns.items()
            if not group.frozen
        },
        layer_decay=float(_fixed(groups.layer_decay, 1.0)) if groups else 1.0,
        frozen=spec.frozen,
    )


def _optimizer_values(spec: StudySpec, wanted: dict[str, Any]) -> dict[str, Scalar]:
    """Return the optimizer's values: what is fixed, else what is wanted if allowed, else the default."""
    usual = {name: knob.usual for name, knob in optimizer_named(spec.optimizer.name).knobs.items()}
    values = {}
    for name, domain in spec.optimizer.knobs.items():
        if not isinstance(domain, Range | Choice):
            values[name] = domain
        elif name in wanted and domain.contains(wanted[name]):
            values[name] = wanted[name]
        else:
            values[name] = usual[name]
    if values.get("nesterov") and not values["momentum"]:
        values["nesterov"] = False  # it needs momentum
    return values


def _fixed(domain: Any, usual: Scalar) -> Any:
    return usual if domain is None or isinstance(domain, Range | Choice) else domain
