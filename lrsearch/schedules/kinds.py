"""The schedule kinds: their knobs, formulas, and the PyTorch class and arguments that each one is."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.parameters import Choice, Domain, Range, Scalar
from lrsearch.schedules import expressions, formulas
from lrsearch.schedules.formulas import Formula, Knobs, Span

Arguments = Callable[[float, Span, Knobs], dict[str, Any]]
Feedback = Callable[[float, tuple[float, ...], Knobs], float]


class Limits(Protocol):
    """The values that a knob may have at all: a range, a choice, or anything."""

    def contains(self, value: Scalar) -> bool:
        """Return whether a value is among them."""
        ...


@dataclass(frozen=True)
class Knob:
    """A parameter that belongs to one kind of schedule.

    Args:
        name: its name within the kind; the canonical name is ``Kind.name``.
        default: what a search draws from unless told otherwise; a plain value is not searched.
        usual: the value of a point that does not name it.
        limits: the values that are allowed at all.
        only_if: (knob, value) that must hold for this one to exist, or None.
        up_to_epochs: divisor d of the budget: the default range then ends at max(1, epochs // d), or
            where it could not act within the budget.
    """

    name: str
    default: Domain | Scalar
    usual: Scalar
    limits: Limits
    only_if: tuple[str, str] | None = None
    up_to_epochs: int | None = None

    def default_for(self, epochs: int) -> Domain | Scalar:
        """Return what a search with this budget draws from."""
        if self.up_to_epochs is None or not isinstance(self.default, Range):
            return self.default
        able_to_act = max(0, epochs - 3)  # the first epoch improves, patience + 1 do not, one follows the cut
        return Range(self.default.low, min(max(1, epochs // self.up_to_epochs), able_to_act), integer=True)

    def exists_beside(self, knobs: Knobs) -> bool:
        """Return whether the knob exists beside the values of its kind's other knobs."""
        return self.only_if is None or knobs.get(self.only_if[0]) == self.only_if[1]


@dataclass(frozen=True)
class Kind:
    """A kind of schedule.

    Args:
        name: PyTorch's class name where PyTorch has one; of a user's own schedule, its reference.
        clock: ``"epoch"`` or ``"step"``: when the factor changes.
        formula_text: the factor, for people.
        formula: the factor, for machines; None for those with feedback.
        knobs: its parameters, searched in this order.
        pytorch: peak lr, span and knobs to the arguments of the class of that name in
            ``torch.optim.lr_scheduler``; None if PyTorch has no such class.
        takes_warmup: whether a linear warm-up may precede it; the others rise by themselves.
        expression: the factor as Python in the step, for ``LambdaLR``; None if PyTorch has a class.
        imports: lines that this Python needs before it.
        feedback: progress at an epoch's start, validation losses of the epochs before it and knobs to the
            factor of a user's own schedule with feedback; None for all others.
        loaded: whether the formula can be computed; a stored study is shown without its user's code.
    """

    name: str
    clock: str
    formula_text: str
    formula: Formula | None
    knobs: tuple[Knob, ...] = ()
    pytorch: Arguments | None = None
    takes_warmup: bool = True
    expression: Callable[[Span, Knobs], str] | None = None
    imports: tuple[str, ...] = ()
    feedback: Feedback | None = None
    loaded: bool = True

    @property
    def needs_feedback(self) -> bool:
        """Whether the factor depends on the validation losses of the epochs before."""
        return self.formula is None

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all knobs of the kind, the missing ones with their usual values.

        Raises:
            UnknownNameError: if the kind has no knob of a given name.
        """
        for name in given:
            if name not in {knob.name for knob in self.knobs}:
                raise UnknownNameError(f"parameter of {self.name}", name, [knob.name for knob in self.knobs])
        complete: dict[str, Any] = {}
        for knob in self.knobs:
            if knob.exists_beside(complete):
                complete[knob.name] = given.get(knob.name, knob.usual)
        return complete


_GAMMA = Knob("gamma", Range(0.05, 0.9, log=True), 0.1, Range(0.0, 1.0))
_END_FACTOR = Knob("end_factor", Range(0.0, 0.1), 0.0, Range(0.0, 1.0))
_FINAL_FACTOR = Knob("final_factor", Range(1e-4, 1.0, log=True), 0.01, Range(1e-12, 1.0, log=True))
_BASE_FACTOR = Knob("base_factor", Range(0.01, 0.5, log=True), 0.1, Range(0.0, 1.0))
_CYCLES = Knob("cycles", Range(1, 8, integer=True), 1, Range(1, 50, integer=True))


def _only_if(mode: str) -> Knob:
    return replace(_FINAL_FACTOR, only_if=("mode", mode))


def _mode(*modes: str) -> Knob:
    return Knob("mode", Choice(modes), modes[0], Choice(modes))


def _cyclic_arguments(lr: float, span: Span, knobs: Knobs) -> dict[str, Any]:
    arguments = {
        "base_lr": lr * knobs["base_factor"],
        "max_lr": lr,
        "step_size_up": formulas.cycle_steps(span, knobs) / 2,
        "mode": knobs["mode"],
        "cycle_momentum": False,
    }
    if knobs["mode"] == "exp_range":
        arguments["gamma"] = formulas.gamma_for(knobs["final_factor"], span.total)
    return arguments


def _one_cycle_arguments(lr: float, span: Span, knobs: Knobs) -> dict[str, Any]:
    return {"max_lr": lr, "total_steps": span.total, **knobs, "cycle_momentum": False}


def _plateau_arguments(lr: float, _span: Span, knobs: Knobs) -> dict[str, Any]:
    arguments = {name: value for name, value in knobs.items() if name != "min_factor"}
    return {**arguments, "min_lr": lr * knobs["min_factor"]}


_ALL = (
    Kind("constant", "epoch", "1", formulas.constant, (), lambda _lr, _span, _k: {}),
    Kind(
        "StepLR",
        "epoch",
        "gamma^floor(e / step_size), step_size = max(1, round(step_fraction E))",
        formulas.step,
        (Knob("step_fraction", Range(0.05, 0.5), 0.3, Range(0.0, 1.0)), _GAMMA),
        lambda _lr, span, k: {"step_size": formulas.step_size(span, k), "gamma": k["gamma"]},
    ),
    Kind(
        "MultiStepLR",
        "epoch",
        "gamma^(milestones passed), at first_fraction E and second_fraction of the rest",
        formulas.multi_step,
        (
            Knob("first_fraction", Range(0.2, 0.8), 0.5, Range(0.0, 1.0)),
            Knob("second_fraction", Range(0.2, 0.9), 0.5, Range(0.0, 1.0)),
            _GAMMA,
        ),
        lambda _lr, span, k: {"milestones": formulas.milestones(span, k), "gamma": k["gamma"]},
    ),
    Kind(
        "ExponentialLR",
        "epoch",
        "gamma^e, gamma = final_factor^(1/E)",
        formulas.exponential,
        (_FINAL_FACTOR,),
        lambda _lr, span, k: {"gamma": formulas.gamma_for(k["final_factor"], span.total)},
    ),
    Kind(
        "LinearLR",
        "step",
        "1 - (1 - end_factor) t / N",
        formulas.linear,
        (_END_FACTOR,),
        lambda _lr, span, k: {
            "start_factor": 1.0,
            "end_factor": k["end_factor"],
            "total_iters": span.total,
        },
    ),
    Kind(
        "PolynomialLR",
        "step",
        "(1 - t/N)^power",
        formulas.polynomial,
        (Knob("power", Range(0.3, 3.0, log=True), 1.0, Range(1e-3, 100.0, log=True)),),
        lambda _lr, span, k: {"total_iters": span.total, "power": k["power"]},
    ),
    Kind(
        "CosineAnnealingLR",
        "step",
        "end + (1 - end)(1 + cos(pi t / N)) / 2",
        formulas.cosine,
        (_END_FACTOR,),
        lambda lr, span, k: {"T_max": span.total, "eta_min": lr * k["end_factor"]},
    ),
    Kind(
        "CosineAnnealingWarmRestarts",
        "step",
        "the cosine in each cycle, each T_mult times as long as the one before",
        formulas.cosine_restarts,
        (
            Knob("cycles", Range(2, 5, integer=True), 2, Range(1, 50, integer=True)),
            Knob("T_mult", Range(1, 2, integer=True), 1, Range(1, 10, integer=True)),
            _END_FACTOR,
        ),
        lambda lr, span, k: {
            "T_0": formulas.first_cycle_steps(span, k),
            "T_mult": k["T_mult"],
            "eta_min": lr * k["end_factor"],
        },
    ),
    Kind(
        "CyclicLR",
        "step",
        "triangles between base_factor and 1; halved each cycle (triangular2) or times gamma^t (exp_range)",
        formulas.cyclic,
        (_mode("triangular", "triangular2", "exp_range"), _CYCLES, _BASE_FACTOR, _only_if("exp_range")),
        _cyclic_arguments,
        takes_warmup=False,
    ),
    Kind(
        "OneCycleLR",
        "step",
        "from 1/div_factor up to 1 at pct_start N, then down to 1/(div_factor final_div_factor)",
        formulas.one_cycle,
        (
            Knob("pct_start", Range(0.1, 0.5), 0.3, Range(0.0, 1.0)),
            Knob("div_factor", Range(3.0, 100.0, log=True), 25.0, Range(1.0, 1e12, log=True)),
            Knob("final_div_factor", Range(10.0, 1e4, log=True), 1e4, Range(1.0, 1e12, log=True)),
            Knob("anneal_strategy", "cos", "cos", Choice(("cos", "linear"))),
        ),
        _one_cycle_arguments,
        takes_warmup=False,
    ),
    Kind(
        "ReduceLROnPlateau",
        "epoch",
        "factor^(cuts); cuts when the validation loss has not improved for more than patience epochs",
        None,
        (
            Knob("factor", Range(0.1, 0.5), 0.1, Range(0.0, 0.999_999)),
            Knob(
                "patience",
                Range(0, 1, integer=True),
                5,
                Range(0, 100_000, integer=True),
                up_to_epochs=4,
            ),
            Knob("threshold", 1e-4, 1e-4, Range(0.0, 1.0)),
            Knob("cooldown", 0, 0, Range(0, 100_000, integer=True)),
            Knob("min_factor", 0.0, 0.0, Range(0.0, 1.0)),
        ),
        _plateau_arguments,
    ),
    Kind(
        "WSD",
        "step",
        "1, then 1 - sqrt((t - s)/(N - s)) from s = (1 - decay_fraction) N",
        formulas.wsd,
        (Knob("decay_fraction", Range(0.05, 0.5), 0.2, Range(1e-6, 1.0)),),
        expression=expressions.wsd,
    ),
    Kind(
        "InverseTime",
        "step",
        "1 / (1 + gamma t)^power, gamma such that final_factor is reached at N",
        formulas.inverse_time,
        (_FINAL_FACTOR, Knob("power", Range(0.5, 2.0), 1.0, Range(1e-3, 100.0, log=True))),
        expression=expressions.inverse_time,
    ),
    Kind(
        "InverseSqrt",
        "step",
        "sqrt(w / max(t, w)), w = warm-up steps or N/20",
        formulas.inverse_sqrt,
        expression=expressions.inverse_sqrt,
    ),
    Kind(
        "Sine",
        "step",
        "base + (1 - base) abs(sin(pi t / 2l)); halved each cycle (sin2) or times gamma^t (sin_exp)",
        formulas.sine,
        (_mode("sin", "sin2", "sin_exp"), _CYCLES, _BASE_FACTOR, _only_if("sin_exp")),
        takes_warmup=False,
        expression=expressions.sine,
    ),
    Kind(
        "WarmupExponential",
        "step",
        "exp(-(t - warmup_steps + 1) gamma), gamma such that final_factor is reached at N",
        formulas.warmup_exponential,
        (_FINAL_FACTOR,),
        expression=expressions.warmup_exponential,
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}

DEFAULT_KINDS = (
    "StepLR",
    "ExponentialLR",
    "ReduceLROnPlateau",
    "LinearLR",
    "CosineAnnealingLR",
    "OneCycleLR",
    "WSD",
)


_registered: dict[str, Kind] = {}  # users' own schedules, by reference


def add_kind(kind: Kind) -> Kind:
    """Make :func:`kind_named` know a user's own schedule, in place of one of that reference before."""
    _registered[kind.name] = kind
    return kind


def loaded_kind(reference: str) -> Kind | None:
    """Return the kind of a user's own schedule whose code is loaded, else None."""
    kind = _registered.get(reference)
    return kind if kind is not None and kind.loaded else None


def kind_named(name: str) -> Kind:
    """Return the kind of that name: a built-in one, or a user's own that was registered.

    Raises:
        SpecError: if the name is a reference to a user's code that was not loaded.
        UnknownNameError: if there is none.
    """
    if name in KINDS:
        return KINDS[name]
    if name in _registered:
        return _registered[name]
    if ":" in name:
        raise SpecError(f"schedule kind {name!r} is not loaded. {how_to_allow(name)}")
    raise UnknownNameError("schedule kind", name, KINDS)


def how_to_allow(reference: str) -> str:
    """Return the sentence that says how a user's code comes to be imported."""
    return (
        f"It is code of yours, imported only where you allow it: --allow-task {shlex.quote(reference)} "
        "on the command line"
    )
