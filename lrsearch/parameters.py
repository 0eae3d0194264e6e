"""What a hyperparameter may be, and the tree of all of them that a study searches."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lrsearch.errors import SpecError, suggestion

Scalar = float | int | str | bool


@dataclass(frozen=True)
class Range:
    """All numbers between two bounds, both included.

    Args:
        low: smallest value.
        high: largest value, at least ``low``.
        log: whether equal ratios count as equal distances; needs ``low > 0``.
        integer: whether only whole numbers belong to it.
        points: number of evenly spaced values that a grid takes from it, or None.

    Raises:
        SpecError: if the bounds are reversed, not finite, not positive on a log scale, or not whole where
            only whole numbers belong to the range.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    points: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise SpecError(f"bounds must be finite numbers, but got low = {self.low}, high = {self.high}")
        if self.low > self.high:
            raise SpecError(f"low <= high must hold, but got low = {self.low}, high = {self.high}")
        if self.log and self.low <= 0:
            raise SpecError(f"a log scale needs low > 0, but got low = {self.low}")
        if self.integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise SpecError(f"whole numbers need whole bounds, but got low = {self.low}, high = {self.high}")
        if self.points is not None and self.points < 1:
            raise SpecError(f"points must be at least 1, but got {self.points}")

    def contains(self, value: Scalar) -> bool:
        """Return whether a value lies within the bounds and has the right type."""
        if isinstance(value, str | bool):
            return False
        return self.low <= value <= self.high and (not self.integer or float(value).is_integer())

    def clipped(self, value: float) -> float:
        """Return the nearest number between the bounds."""
        return min(max(value, self.low), self.high)

    def at(self, position: float) -> float | int:
        """Return the value at a position in [0, 1].

        Whole numbers share it in equal parts; on a log scale each takes the part around its logarithm.
        """
        start, end = self._ends()
        value = start + position * (end - start)
        value = min(max(math.exp(value) if self.log else value, self.low), self.high)
        return math.floor(value + 0.5) if self.integer else float(value)

    def position(self, value: Scalar) -> float:
        """Return the position in [0, 1] of a value: the inverse of :meth:`at`."""
        start, end = self._ends()
        return 0.5 if start == end else (self._scaled(float(value)) - start) / (end - start)

    def grid(self) -> tuple[Scalar, ...]:
        """Return the values that a grid takes: at most ``points`` of them, or every whole number."""
        if self.points is None:
            if not self.integer:
                raise SpecError("a grid needs a list of values, or points = n beside low and high")
            return tuple(range(int(self.low), int(self.high) + 1))
        if self.points == 1:
            return (self.at(0.5),)
        spaced = np.geomspace if self.log else np.linspace
        values = spaced(self.low, self.high, self.points).clip(self.low, self.high).tolist()
        return tuple(dict.fromkeys(round(value) if self.integer else value for value in values))

    def __str__(self) -> str:
        scale = ", log scale" if self.log else ", whole numbers" if self.integer else ""
        return f"{self.low:g}..{self.high:g}{scale}"

    def _ends(self) -> tuple[float, float]:
        """Return where positions 0 and 1 lie on the scale: half a unit beyond the outer whole numbers."""
        margin = 0.5 if self.integer else 0.0
        return self._scaled(self.low - margin), self._scaled(self.high + margin)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
        options: the values, at least one, all different.

    Raises:
        SpecError: if there is no option, or one stands twice.
    """

    options: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise SpecError("a choice needs at least one value, but got an empty list")
        if len(set(self.options)) < len(self.options):
            raise SpecError(f"the values of a choice must differ, but got {list(self.options)}")

    def contains(self, value: Scalar) -> bool:
        """Return whether a value is one of the options."""
        return value in self.options

    def at(self, position: float) -> Scalar:
        """Return the option at a position in [0, 1]; all share it in equal parts."""
        return self.options[min(int(position * len(self.options)), len(self.options) - 1)]

    def position(self, value: Scalar) -> float:
        """Return the middle of an option's part of [0, 1]."""
        return (self.options.index(value) + 0.5) / len(self.options)

    def grid(self) -> tuple[Scalar, ...]:
        """Return all options."""
        return self.options

    def __str__(self) -> str:
        return " | ".join(map(str, self.options))


Domain = Range | Choice


@dataclass(frozen=True)
class ZeroOr:
    """Zero, or a number in a range: for a part of a run that may be left out.

    Args:
        range: the numbers other than zero.
    """

    range: Range

    def __str__(self) -> str:
        return f"0 or {self.range}"


@dataclass(frozen=True)
class Condition:
    """When a parameter exists: its parent has one of these values.

    Args:
        parent: canonical name of another parameter.
        values: the parent's values under which the parameter exists.
    """

    parent: str
    values: frozenset[Scalar]

    def holds(self, point: Mapping[str, Scalar]) -> bool:
        """Return whether the parent exists in a point and has one of the values."""
        return self.parent in point and point[self.parent] in self.values

    def __str__(self) -> str:
        return f"{self.parent} is {' or '.join(sorted(map(str, self.values)))}"


@dataclass(frozen=True)
class Parameter:
    """A named hyperparameter of a search space.

    Args:
        name: canonical name, such as ``"lr"`` or ``"StepLR.gamma"``.
        domain: what it may be; a plain value is fixed and not searched.
        condition: when it exists; None means always.
    """

    name: str
    domain: Domain | Scalar
    condition: Condition | None = None

    def exists_in(self, point: Mapping[str, Scalar]) -> bool:
        """Return whether the parameter exists beside the values chosen so far."""
        return self.condition is None or self.condition.holds(point)

    @property
    def fixed(self) -> bool:
        """Whether the parameter has one value and is not searched."""
        return not isinstance(self.domain, Range | Choice)


Point = dict[str, Scalar]


@dataclass(frozen=True)
class SearchSpace:
    """The points that a study may try: a tree, parents before children.

    Args:
        parameters: all parameters; a conditional one stands after its parent.
    """

    parameters: tuple[Parameter, ...]

    @property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that are not fixed."""
        return tuple(parameter for parameter in self.parameters if not parameter.fixed)

    def walk(self, choose: Callable[[Parameter], Scalar]) -> Point:
        """Return a whole point: fixed values as they are, the others as chosen, parents first."""
        point: Point = {}
        for parameter in self.parameters:
            if parameter.exists_in(point):
                point[parameter.name] = choose(parameter) if _domain(parameter) else parameter.domain  # type: ignore[assignment]  # fixed: a scalar
        return point

    def complete(self, point: Mapping[str, Scalar]) -> Point:
        """Return the whole point that the searched part of one means.

        Raises:
            SpecError: if a value is missing, outside its range, or names no parameter of this point.
        """
        whole = self.walk(lambda parameter: self._value(parameter, point))
        for name, value in point.items():
            if name not in whole:
                raise SpecError(f"{name} does not exist beside the other values of this point")
            if whole[name] != value:
                raise SpecError(f"{name} is fixed to {whole[name]!r} in this study, but got {value!r}")
        return whole

    def with_fixed(self, part: Mapping[str, Scalar]) -> Point:
        """Return the whole point of a trial: its searched part, as stored, and the fixed values."""
        return self.walk(lambda parameter: part[parameter.name])

    def check_part(self, part: Mapping[str, Scalar]) -> None:
        """Refuse a part of a point that no whole point of the space contains.

        Raises:
            SpecError: if a name is unknown, a value is outside its range or differs from the fixed one, or a
                parameter stands there without the parent's value under which it exists.
        """
        parameters = {parameter.name: parameter for parameter in self.parameters}
        known: dict[str, Scalar] = dict(part)
        for each in self.parameters:
            if not isinstance(each.domain, Range | Choice):
                known[each.name] = each.domain
        for name, value in part.items():
            if name not in parameters:
                raise SpecError(f"unknown parameter {name!r}.{suggestion(name, parameters)}")
            parameter = parameters[name]
            if parameter.fixed and value != parameter.domain:
                raise SpecError(f"{name} is fixed to {parameter.domain!r} in this study, but got {value!r}")
            self._value(parameter, part)
            if not parameter.exists_in(known):
                raise SpecError(f"{name} exists only where {parameter.condition}; give that value too")

    def searched_part(self, point: Mapping[str, Scalar]) -> Point:
        """Return the values of a point that are searched: what Optuna stores."""
        names = {parameter.name for parameter in self.searched}
        return {name: value for name, value in point.items() if name in names}

    def _value(self, parameter: Parameter, point: Mapping[str, Scalar]) -> Scalar:
        domain = _domain(parameter)
        if parameter.name not in point:
            raise SpecError(f"{parameter.name} is missing: give a value within {domain}")
        value = point[parameter.name]
        if domain is not None and not domain.contains(value):
            raise SpecError(f"{parameter.name} must lie within {domain}, but got {value!r}")
        return value


def _domain(parameter: Parameter) -> Domain | None:
    return parameter.domain if isinstance(parameter.domain, Range | Choice) else None
