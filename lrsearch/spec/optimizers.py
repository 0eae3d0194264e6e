"""The optimizers: their knobs with PyTorch's defaults, and the learning rates that suit them."""

from collections.abc import Mapping
from dataclasses import dataclass

from lrsearch.errors import UnknownNameError
from lrsearch.parameters import Choice, Domain, Range, Scalar


@dataclass(frozen=True)
class OptimizerKnob:
    """A parameter of an optimizer.

    Args:
        usual: PyTorch's default.
        limits: the values that are allowed at all.
    """

    usual: Scalar
    limits: Domain


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer of ``torch.optim``.

    Args:
        name: its class there.
        lr: the learning rates that a search draws from unless told otherwise.
        knobs: its parameters by name; ``beta1`` and ``beta2`` are PyTorch's ``betas``.
    """

    name: str
    lr: Range
    knobs: Mapping[str, OptimizerKnob]


_WEIGHT_DECAY = Range(0.0, 10.0)
_BETA = Range(0.0, 0.999_999)
_ADAM_LR = Range(1e-5, 1e-1, log=True)


def _adam_knobs(weight_decay: float) -> dict[str, OptimizerKnob]:
    return {
        "beta1": OptimizerKnob(0.9, _BETA),
        "beta2": OptimizerKnob(0.999, _BETA),
        "eps": OptimizerKnob(1e-8, Range(0.0, 1.0)),
        "weight_decay": OptimizerKnob(weight_decay, _WEIGHT_DECAY),
    }


_SGD_KNOBS = {
    "momentum": OptimizerKnob(0.0, Range(0.0, 0.999_999)),
    "dampening": OptimizerKnob(0.0, Range(0.0, 1.0)),
    "weight_decay": OptimizerKnob(0.0, _WEIGHT_DECAY),
    "nesterov": OptimizerKnob(False, Choice((False, True))),
}

OPTIMIZERS: Mapping[str, OptimizerKind] = {
    "SGD": OptimizerKind("SGD", Range(1e-3, 5.0, log=True), _SGD_KNOBS),
    "Adam": OptimizerKind("Adam", _ADAM_LR, _adam_knobs(0.0)),
    "AdamW": OptimizerKind("AdamW", _ADAM_LR, _adam_knobs(1e-2)),
}


def optimizer_named(name: str) -> OptimizerKind:
    """Return the optimizer of that name.

    Raises:
        UnknownNameError: if there is none.
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]
