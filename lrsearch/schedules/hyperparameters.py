"""One point of a search: everything that decides how a trial trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lrsearch.errors import SpecError
from lrsearch.parameters import Scalar
from lrsearch.schedules.kinds import kind_named


@dataclass(frozen=True)
class Hyperparameters:
    """A learning rate, its schedule and the optimizer's knobs.

    Args:
        lr: peak learning rate, above 0.
        kind: name of the schedule kind.
        knobs: the kind's parameters; missing ones take their usual values.
        warmup_fraction: part of the run in which the learning rate rises linearly, in [0, 1).
        optimizer: the optimizer's parameters by name, such as ``momentum``.

    Raises:
        UnknownNameError: if the kind, or one of its knobs, does not exist.
        SpecError: if a number is out of its limits.
    """

    lr: float
    kind: str = "constant"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    warmup_fraction: float = 0.0
    optimizer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = kind_named(self.kind)
        object.__setattr__(self, "knobs", kind.complete(self.knobs))
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise SpecError(f"lr must be a finite number above 0, but got {self.lr}")
        if not 0 <= self.warmup_fraction < 1:
            raise SpecError(f"warmup_fraction must lie in [0, 1), but got {self.warmup_fraction}")
        if self.warmup_fraction and not kind.takes_warmup:
            raise SpecError(f"{self.kind} rises by itself and takes no warm-up; set warmup_fraction = 0")
        self._check_knobs()

    def _check_knobs(self) -> None:
        for knob in kind_named(self.kind).knobs:
            value = self.knobs.get(knob.name)
            if value is not None and not knob.limits.contains(value):
                raise SpecError(f"{self.kind}.{knob.name} must lie in {knob.limits}, but got {value!r}")

    @classmethod
    def from_point(cls, point: Mapping[str, Scalar]) -> Self:
        """Return the hyperparameters that a point in canonical names means.

        Args:
            point: ``lr``, ``kind``, ``warmup_fraction``, ``Kind.knob`` and optimizer parameters by name.
        """
        rest = {name: value for name, value in point.items() if name != "warmup"}
        kind = str(rest.pop("kind", "constant"))
        lr = float(rest.pop("lr"))
        warmup_fraction = float(rest.pop("warmup_fraction", 0.0))
        knobs = {name.split(".", 1)[1]: value for name, value in rest.items() if name.startswith(f"{kind}.")}
        optimizer = {name: value for name, value in rest.items() if "." not in name}
        return cls(lr, kind, knobs, warmup_fraction, optimizer)

    def to_point(self) -> dict[str, Scalar]:
        """Return the hyperparameters as a flat, JSON-able point in canonical names."""
        knobs = {f"{self.kind}.{name}": value for name, value in self.knobs.items()}
        point = {"lr": self.lr, "kind": self.kind, "warmup_fraction": self.warmup_fraction}
        return {**point, **knobs, **self.optimizer}
