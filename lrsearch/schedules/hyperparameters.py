"""One point of a search: everything that decides how a trial trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lrsearch.errors import SpecError
from lrsearch.parameters import Scalar
from lrsearch.schedules.kinds import Kind, kind_named

_SCALE = "lr_scale["


@dataclass(frozen=True)
class Hyperparameters:
    """A learning rate, its schedule, the optimizer's knobs, and what parameter groups make of the rate.

    Args:
        lr: peak learning rate, above 0.
        kind: name of the schedule kind.
        knobs: the kind's parameters; missing ones take their usual values.
        warmup_fraction: part of the run in which the learning rate rises linearly, in [0, 1).
        optimizer: the optimizer's parameters by name, such as ``momentum``.
        lr_scales: factor on the learning rate, at least 0, by pattern of parameter names (``fnmatch``); a
            parameter takes that of the first pattern it matches, else 1.
        layer_decay: factor on the learning rate of every layer, once for each layer above it, in (0, 1].
        frozen: patterns of names of the parameters that are not trained; part of the study, not searched.

    Raises:
        UnknownNameError: if the kind, or one of its knobs, does not exist.
        SpecError: if a number is out of its limits.
    """

    lr: float
    kind: str = "constant"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    warmup_fraction: float = 0.0
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    layer_decay: float = 1.0
    frozen: tuple[str, ...] = ()
    _declared: Kind | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kind = kind_named(self.kind)
        object.__setattr__(self, "_declared", kind)
        object.__setattr__(self, "knobs", kind.complete(self.knobs))
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise SpecError(f"lr must be a finite number above 0, but got {self.lr}")
        if not 0 <= self.warmup_fraction < 1:
            raise SpecError(f"warmup_fraction must lie in [0, 1), but got {self.warmup_fraction}")
        if self.warmup_fraction and not kind.takes_warmup:
            raise SpecError(f"{self.kind} rises by itself and takes no warm-up; set warmup_fraction = 0")
        if not 0 < self.layer_decay <= 1:
            raise SpecError(f"layer_decay must lie in (0, 1], but got {self.layer_decay}")
        for pattern, scale in self.lr_scales.items():
            if not (math.isfinite(scale) and scale >= 0):
                raise SpecError(
                    f"{scale_name(pattern)} must be a finite number of at least 0, but got {scale}"
                )
        self._check_knobs()

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the kind, whose functions cannot be pickled; it is found by its name again."""
        return {**self.__dict__, "_declared": None}

    @property
    def schedule_kind(self) -> Kind:
        """The kind as it was when these were made, though a user's own may be declared anew since."""
        return self._declared or kind_named(self.kind)

    def _check_knobs(self) -> None:
        for knob in self.schedule_kind.knobs:
            value = self.knobs.get(knob.name)
            if value is not None and not knob.limits.contains(value):
                raise SpecError(f"{self.kind}.{knob.name} must lie in {knob.limits}, but got {value!r}")

    @classmethod
    def from_point(cls, point: Mapping[str, Scalar], frozen: tuple[str, ...] = ()) -> Self:
        """Return the hyperparameters that a point in canonical names means.

        Args:
            point: ``lr``, ``kind``, ``warmup_fraction``, ``Kind.knob``, ``lr_scale[pattern]``,
                ``layer_decay`` and optimizer parameters by name.
            frozen: the study's patterns of parameters that are not trained.
        """
        rest = {name: value for name, value in point.items() if name != "warmup"}
        kind = str(rest.pop("kind", "constant"))
        lr = float(rest.pop("lr"))
        warmup_fraction = float(rest.pop("warmup_fraction", 0.0))
        layer_decay = float(rest.pop("layer_decay", 1.0))
        lr_scales = {
            pattern: float(rest.pop(name))
            for name in list(rest)
            if (pattern := scaled_pattern(name)) is not None
        }
        parts = {name: name.rpartition(".") for name in rest}  # a kind's name may contain dots, a knob's not
        knobs = {knob: rest[name] for name, (owner, _, knob) in parts.items() if owner == kind}
        optimizer = {name: value for name, value in rest.items() if "." not in name}
        return cls(lr, kind, knobs, warmup_fraction, optimizer, lr_scales, layer_decay, frozen)

    def to_point(self) -> dict[str, Scalar]:
        """Return the hyperparameters as a flat, JSON-able point in canonical names."""
        knobs = {f"{self.kind}.{name}": value for name, value in self.knobs.items()}
        point = {"lr": self.lr, "kind": self.kind, "warmup_fraction": self.warmup_fraction}
        scales = {scale_name(pattern): scale for pattern, scale in self.lr_scales.items()}
        decay = {} if self.layer_decay == 1 else {"layer_decay": self.layer_decay}
        return {**point, **knobs, **self.optimizer, **scales, **decay}


def scale_name(pattern: str) -> str:
    """Return the canonical name of a group's factor on lr, such as ``lr_scale[layers.0.*]``."""
    return f"{_SCALE}{pattern}]"


def scaled_pattern(name: str) -> str | None:
    """Return the pattern in the canonical name of a group's factor on lr; None for any other name."""
    return name[len(_SCALE) : -1] if name.startswith(_SCALE) and name.endswith("]") else None
