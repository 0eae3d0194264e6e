"""The factor that each kind of schedule multiplies the peak learning rate with, as pure functions.

Every formula takes positions ``x`` (float64 array, epochs or update steps from 0), the :class:`Span` they
run over and the kind's knobs, and returns factors of the same shape. Where PyTorch has the schedule, the
formula is the closed form of that class of ``torch.optim.lr_scheduler``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Knobs = Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """The stretch of training that a formula covers.

    Args:
        total: length in the formula's own clock, epochs or steps after the warm-up; a decay ends there.
        warmup_steps: steps of the warm-up before it, 0 if there is none.
    """

    total: int
    warmup_steps: int = 0


Formula = Callable[[Floats, Span, Knobs], Floats]


def constant(x: Floats, _span: Span, _knobs: Knobs) -> Floats:
    """Return 1 everywhere."""
    return np.ones_like(x)


def step_size(span: Span, knobs: Knobs) -> int:
    """Return the epochs between two cuts of StepLR, at least 1."""
    return max(1, round(float(knobs["step_fraction"]) * span.total))


def step(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return gamma^floor(e / step_size)."""
    return np.asarray(knobs["gamma"] ** np.floor(x / step_size(span, knobs)))


def milestones(span: Span, knobs: Knobs) -> list[int]:
    """Return the two epochs at which MultiStepLR cuts; the second may lie beyond the run."""
    first = max(1, round(knobs["first_fraction"] * span.total))
    return [first, first + max(1, round(knobs["second_fraction"] * (span.total - first)))]


def multi_step(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return gamma^(milestones passed)."""
    return np.asarray(knobs["gamma"] ** np.searchsorted(milestones(span, knobs), x, side="right"))


def gamma_for(final_factor: float, total: int) -> float:
    """Return the constant ratio between neighbours that reaches final_factor after ``total`` of them."""
    return float(final_factor ** (1 / total))


def exponential(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return gamma^e with gamma = final_factor^(1/E)."""
    return np.asarray(gamma_for(knobs["final_factor"], span.total) ** x)


def linear(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return 1 - (1 - end_factor) t / N."""
    return np.asarray(1 - (1 - knobs["end_factor"]) * x / span.total)


def polynomial(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return (1 - t/N)^power."""
    return np.asarray((1 - x / span.total) ** knobs["power"])


def _half_cosine(progress: Floats, end_factor: float) -> Floats:
    return end_factor + (1 - end_factor) * (1 + np.cos(np.pi * progress)) / 2


def cosine(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return end + (1 - end)(1 + cos(pi t / N)) / 2 (SGDR, Loshchilov & Hutter 2017, equation 5)."""
    return _half_cosine(x / span.total, knobs["end_factor"])


def first_cycle_steps(span: Span, knobs: Knobs) -> int:
    """Return T_0, the first cycle's steps, such that the cycles just cover the run."""
    cycles, ratio = knobs["cycles"], knobs["T_mult"]
    lengths = float(sum(ratio**cycle for cycle in range(cycles)))
    return max(1, math.ceil(span.total / lengths))


def cosine_restarts(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return a half cosine in each cycle, each T_mult times as long as the one before."""
    ratio, length = knobs["T_mult"], first_cycle_steps(span, knobs)
    starts, start = [], 0
    while start <= max(span.total, 1):
        starts.append(start)
        start += length * ratio ** (len(starts) - 1)
    cycle = np.searchsorted(starts, x, side="right") - 1
    progress = (x - np.asarray(starts)[cycle]) / (length * float(ratio) ** cycle)
    return _half_cosine(progress, knobs["end_factor"])


def cycle_steps(span: Span, knobs: Knobs) -> float:
    """Return the steps of one of ``cycles`` equal cycles, up and down together."""
    return float(span.total / knobs["cycles"])


def cyclic(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return a triangle wave between base_factor and 1 (Smith 2017), damped as its mode says."""
    cycle = np.floor(1 + x / cycle_steps(span, knobs))
    progress = 1 + x / cycle_steps(span, knobs) - cycle
    height = np.where(progress <= 0.5, progress * 2, (1 - progress) * 2)
    damping = _damping(knobs["mode"], cycle - 1, x, span, knobs)
    return np.asarray(knobs["base_factor"] + (1 - knobs["base_factor"]) * height * damping)


def sine(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return base + (1 - base) abs(sin(pi t / 2l)) with 2l the steps of a cycle, damped as its mode says."""
    progress = x / cycle_steps(span, knobs)
    damping = _damping(knobs["mode"], np.floor(progress), x, span, knobs)
    height = np.abs(np.sin(np.pi * progress))
    return np.asarray(knobs["base_factor"] + (1 - knobs["base_factor"]) * height * damping)


def _damping(mode: str, cycle: Floats, x: Floats, span: Span, knobs: Knobs) -> Floats:
    if mode in {"triangular2", "sin2"}:
        return np.asarray(0.5**cycle)
    if mode in {"exp_range", "sin_exp"}:
        return np.asarray(gamma_for(knobs["final_factor"], span.total) ** x)
    return np.ones_like(x)


def one_cycle(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return PyTorch's OneCycleLR: up to 1 over pct_start of the run, then down below the start."""
    start = 1 / knobs["div_factor"]
    end = start / knobs["final_div_factor"]
    top, last = knobs["pct_start"] * span.total - 1, span.total - 1
    rising = x / top if top > 0 else np.ones_like(x)
    falling = (x - top) / (last - top)
    anneal = _anneal_cosine if knobs["anneal_strategy"] == "cos" else _anneal_linear
    return np.where(x <= top, anneal(start, 1.0, rising), anneal(1.0, end, falling))


def _anneal_cosine(start: float, end: float, progress: Floats) -> Floats:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * progress))


def _anneal_linear(start: float, end: float, progress: Floats) -> Floats:
    return start + (end - start) * progress


def wsd(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return 1, then 1 - sqrt of the decay's progress (Haegele et al. 2024, arXiv 2405.18392)."""
    decay_steps = knobs["decay_fraction"] * span.total
    progress = np.clip((x - (span.total - decay_steps)) / decay_steps, 0, None)
    return np.asarray(1 - np.sqrt(progress))


def inverse_time_gamma(span: Span, knobs: Knobs) -> float:
    """Return the gamma per step with which InverseTime reaches final_factor at the end."""
    return float((knobs["final_factor"] ** (-1 / knobs["power"]) - 1) / span.total)


def inverse_time(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return 1 / (1 + gamma t)^power."""
    return np.asarray((1 + inverse_time_gamma(span, knobs) * x) ** -knobs["power"])


def inverse_sqrt(x: Floats, span: Span, _knobs: Knobs) -> Floats:
    """Return sqrt(w / max(t, w)) with w = warm-up steps, or N/20 (Vaswani et al. 2017, equation 3)."""
    if span.warmup_steps:
        t, w = x + span.warmup_steps - 1, float(span.warmup_steps)
    else:
        t, w = x, span.total / 20
    return np.sqrt(w / np.maximum(t, w))


def warmup_exponential_gamma(span: Span, knobs: Knobs) -> float:
    """Return the gamma per step with which WarmupExponential reaches final_factor at the end."""
    return -math.log(knobs["final_factor"]) / span.total


def warmup_exponential(x: Floats, span: Span, knobs: Knobs) -> Floats:
    """Return exp(-(t - warmup_steps + 1) gamma), counted from the end of the warm-up."""
    return np.exp(-warmup_exponential_gamma(span, knobs) * x)
