"""The optimizers: their knobs with their own defaults, and the learning rates that suit them.

Every class of ``torch.optim`` is here, and the schedule-free ones of the package ``schedulefree``. Arguments
that change the speed and not the result (``foreach``, ``fused``, ``capturable``, ``differentiable``) are left
to PyTorch, and so is ``maximize``: losses fall.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch.errors import UnknownNameError
from lrsearch.parameters import Choice, Domain, Range, Scalar

SCHEDULE_FREE = "schedulefree"  # the package


@dataclass(frozen=True)
class RangeOrDefault(Range):
    """All numbers between two bounds, or the text ``"default"`` where PyTorch's default is no number."""

    def contains(self, value: Scalar) -> bool:
        """Return whether a value is a number of the range, or ``"default"``."""
        return value == "default" or super().contains(value)

    def __str__(self) -> str:
        return f'{super().__str__()}, or be "default"'


@dataclass(frozen=True)
class OptimizerKnob:
    """A parameter of an optimizer.

    Args:
        usual: PyTorch's default.
        limits: the values that are allowed at all.
        none: the value that stands for PyTorch's None, which a study file cannot write; None if none does.
    """

    usual: Scalar
    limits: Domain
    none: Scalar | None = None

    def argument(self, value: Scalar) -> Any:
        """Return what PyTorch is given for a value: numbers in the type that the limits say."""
        if self.none is not None and value == self.none:
            return None
        if isinstance(self.limits, Range):
            return int(value) if self.limits.integer else float(value)
        return value


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer.

    Args:
        name: its class.
        lr: the learning rates that a search draws from unless told otherwise.
        knobs: its parameters by name, in the order of PyTorch's signature.
        tuples: the arguments that PyTorch takes as one tuple, by name: which knobs are its parts.
        follows_lr: whether every update uses the learning rate, and not the first alone.
        package: where its class is.
    """

    name: str
    lr: Range
    knobs: Mapping[str, OptimizerKnob]
    tuples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    follows_lr: bool = True
    package: str = "torch.optim"

    @property
    def is_schedule_free(self) -> bool:
        """Whether it needs no schedule, as it averages the weights instead (arXiv 2405.15682)."""
        return self.package == SCHEDULE_FREE

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return PyTorch's arguments after the learning rate, all of them.

        Args:
            values: knobs by name; missing ones take their usual values.

        Raises:
            UnknownNameError: if the optimizer has no knob of a given name.
        """
        for name in values:
            if name not in self.knobs:
                raise UnknownNameError(f"parameter of {self.name}", name, self.knobs)
        arguments: dict[str, Any] = {}
        for name, knob in self.knobs.items():
            joined = next((whole for whole, parts in self.tuples.items() if name in parts), None)
            value = knob.argument(values.get(name, knob.usual))
            arguments[joined or name] = (*arguments.get(joined, ()), value) if joined else value
        return arguments


_BETAS = {"betas": ("beta1", "beta2")}
_BELOW_ONE = Range(0.0, 0.999_999)
_UNIT = Range(0.0, 1.0)
_FLAG = OptimizerKnob(False, Choice((False, True)))
_ADAM_LR = Range(1e-5, 1e-1, log=True)  # an update is about lr large in every weight, whatever the gradient
_SGD_LR = Range(1e-3, 5.0, log=True)  # an update is lr times the gradient


def _eps(usual: float) -> dict[str, OptimizerKnob]:
    return {"eps": OptimizerKnob(usual, _UNIT)}


def _weight_decay(usual: float = 0.0) -> dict[str, OptimizerKnob]:
    return {"weight_decay": OptimizerKnob(usual, Range(0.0, 10.0))}


def _adam_knobs(weight_decay: float = 0.0) -> dict[str, OptimizerKnob]:
    betas = {"beta1": OptimizerKnob(0.9, _BELOW_ONE), "beta2": OptimizerKnob(0.999, _BELOW_ONE)}
    return {**betas, **_eps(1e-8), **_weight_decay(weight_decay)}


_ADAM_FAMILY = (
    OptimizerKind(
        "Adam", _ADAM_LR, {**_adam_knobs(), "amsgrad": _FLAG, "decoupled_weight_decay": _FLAG}, _BETAS
    ),
    OptimizerKind("AdamW", _ADAM_LR, {**_adam_knobs(0.01), "amsgrad": _FLAG}, _BETAS),
    OptimizerKind("Adamax", _ADAM_LR, _adam_knobs(), _BETAS),
    OptimizerKind(
        "NAdam",
        _ADAM_LR,
        {
            **_adam_knobs(),
            "momentum_decay": OptimizerKnob(0.004, _UNIT),
            "decoupled_weight_decay": _FLAG,
        },
        _BETAS,
    ),
    OptimizerKind("RAdam", _ADAM_LR, {**_adam_knobs(), "decoupled_weight_decay": _FLAG}, _BETAS),
    OptimizerKind(
        "SparseAdam",
        _ADAM_LR,
        {
            "beta1": OptimizerKnob(0.9, _BELOW_ONE),
            "beta2": OptimizerKnob(0.999, _BELOW_ONE),
            "eps": OptimizerKnob(1e-8, Range(1e-30, 1.0)),
        },
        _BETAS,
    ),
)

_SGD_FAMILY = (
    OptimizerKind(
        "SGD",
        _SGD_LR,
        {
            "momentum": OptimizerKnob(0.0, _BELOW_ONE),
            "dampening": OptimizerKnob(0.0, _UNIT),
            **_weight_decay(),
            "nesterov": _FLAG,
        },
    ),
    OptimizerKind(
        "ASGD",
        _SGD_LR,
        {
            "lambd": OptimizerKnob(1e-4, _UNIT),
            "alpha": OptimizerKnob(0.75, Range(0.0, 10.0)),
            "t0": OptimizerKnob(1e6, Range(0.0, 1e12)),
            **_weight_decay(),
        },
    ),
)

_SCALED_BY_PAST_GRADIENTS = (
    OptimizerKind(
        "RMSprop",
        _ADAM_LR,  # Adam without the mean of the gradients
        {
            "alpha": OptimizerKnob(0.99, _BELOW_ONE),
            **_eps(1e-8),
            **_weight_decay(),
            "momentum": OptimizerKnob(0.0, _BELOW_ONE),
            "centered": _FLAG,
        },
    ),
    OptimizerKind(
        "Adagrad",
        Range(1e-4, 1.0, log=True),  # its updates shrink like 1 / sqrt(step): it starts above Adam
        {
            "lr_decay": OptimizerKnob(0.0, _UNIT),
            **_weight_decay(),
            "initial_accumulator_value": OptimizerKnob(0.0, Range(0.0, 1e6)),
            **_eps(1e-10),
        },
    ),
    OptimizerKind(
        "Adadelta",
        Range(1e-2, 10.0, log=True),  # a factor on updates that have the weights' own scale: 1 is the paper's
        {"rho": OptimizerKnob(0.9, _BELOW_ONE), **_eps(1e-6), **_weight_decay()},
    ),
    OptimizerKind(
        "Adafactor",
        Range(1e-4, 1.0, log=True),  # relative to the weights' size, and never above 1 / sqrt(step)
        {
            "beta2_decay": OptimizerKnob(-0.8, Range(-10.0, 0.0)),
            # its default, the machine precision of the weights, is None in PyTorch and no number of its own
            "eps1": OptimizerKnob("default", RangeOrDefault(0.0, 1.0), none="default"),
            "eps2": OptimizerKnob(1e-3, _UNIT),
            "d": OptimizerKnob(1.0, Range(1.0, 1e6)),
            **_weight_decay(),
        },
        {"eps": ("eps1", "eps2")},
    ),
)

_OF_THEIR_OWN = (
    OptimizerKind(
        "Rprop",
        _ADAM_LR,  # the size of the first update of every weight; the later ones it finds itself
        {
            "eta_minus": OptimizerKnob(0.5, Range(1e-6, 0.999_999)),
            "eta_plus": OptimizerKnob(1.2, Range(1.000_001, 100.0)),
            "step_size_min": OptimizerKnob(1e-6, _UNIT),
            "step_size_max": OptimizerKnob(50.0, Range(0.0, 1e6)),
        },
        {"etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_size_min", "step_size_max")},
        follows_lr=False,
    ),
    OptimizerKind(
        "Muon",
        Range(1e-4, 1e-1, log=True),  # updates are orthogonal matrices: their size does not fade
        {
            **_weight_decay(0.1),
            "momentum": OptimizerKnob(0.95, _BELOW_ONE),
            "nesterov": OptimizerKnob(True, Choice((False, True))),
            "ns_coefficient_a": OptimizerKnob(3.4445, Range(-100.0, 100.0)),
            "ns_coefficient_b": OptimizerKnob(-4.775, Range(-100.0, 100.0)),
            "ns_coefficient_c": OptimizerKnob(2.0315, Range(-100.0, 100.0)),
            "eps": OptimizerKnob(1e-7, _UNIT),
            "ns_steps": OptimizerKnob(5, Range(1, 99, integer=True)),
            "adjust_lr_fn": OptimizerKnob(
                "original", Choice(("original", "match_rms_adamw")), none="original"
            ),
        },
        {"ns_coefficients": ("ns_coefficient_a", "ns_coefficient_b", "ns_coefficient_c")},
    ),
    OptimizerKind(
        "LBFGS",
        Range(1e-2, 2.0, log=True),  # a factor on a quasi-Newton update: 1 is the whole way
        {
            "max_iter": OptimizerKnob(20, Range(1, 10_000, integer=True)),
            # its default is 1.25 times max_iter
            "max_eval": OptimizerKnob("default", RangeOrDefault(1, 100_000, integer=True), none="default"),
            "tolerance_grad": OptimizerKnob(1e-7, _UNIT),
            "tolerance_change": OptimizerKnob(1e-9, _UNIT),
            "history_size": OptimizerKnob(100, Range(1, 10_000, integer=True)),
            "line_search_fn": OptimizerKnob("none", Choice(("none", "strong_wolfe")), none="none"),
        },
    ),
)

# Their warm-up is the schedule's, so warmup_steps is left at 0. Rates are those of the optimizers that they
# come from, times what their authors advise: 10 to 50 for SGD, 1 to 10 for AdamW.
_POWER = Range(0.0, 100.0)
_AVERAGING = {"r": OptimizerKnob(0.0, _POWER), "weight_lr_power": OptimizerKnob(2.0, _POWER)}
_SCHEDULE_FREE = (
    OptimizerKind(
        "SGDScheduleFree",
        Range(1e-2, 50.0, log=True),
        {"momentum": OptimizerKnob(0.9, Range(1e-6, 0.999_999)), **_weight_decay(), **_AVERAGING},
        package=SCHEDULE_FREE,
    ),
    OptimizerKind(
        "AdamWScheduleFree",
        Range(1e-5, 1.0, log=True),
        {
            "beta1": OptimizerKnob(0.9, Range(1e-6, 0.999_999)),
            "beta2": OptimizerKnob(0.999, _BELOW_ONE),
            **_eps(1e-8),
            **_weight_decay(),
            **_AVERAGING,
        },
        _BETAS,
        package=SCHEDULE_FREE,
    ),
)

OPTIMIZERS: Mapping[str, OptimizerKind] = {
    kind.name: kind
    for kind in (
        *_SGD_FAMILY,
        *_ADAM_FAMILY,
        *_SCALED_BY_PAST_GRADIENTS,
        *_OF_THEIR_OWN,
        *_SCHEDULE_FREE,
    )
}


def optimizer_named(name: str) -> OptimizerKind:
    """Return the optimizer of that name.

    Raises:
        UnknownNameError: if there is none.
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]
