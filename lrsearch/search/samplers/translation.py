"""Between Optuna's parameters and our points, for spaces that are given and spaces that are inferred."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lrsearch.parameters import Choice, Domain, Parameter, Point, Range, Scalar, SearchSpace
from lrsearch.search.flat_space import FlatSpace

Steps = tuple[float, float, float]


@dataclass(frozen=True)
class Translation:
    """A flat space, and how its points read as Optuna's parameters.

    Args:
        flat: the space that a sampler works in.
        steps: (lowest value, step, highest value) of distributions with a step, by name: our points count
            their steps from 0.
    """

    flat: FlatSpace
    steps: Mapping[str, Steps] = field(default_factory=dict)

    @classmethod
    def of_distributions(cls, distributions: Mapping[str, BaseDistribution]) -> Self:
        """Return the translation of a space without conditions, as Optuna infers it from a study's trials."""
        parameters = (Parameter(name, domain(each)) for name, each in distributions.items())
        steps = {name: found for name, each in distributions.items() if (found := _steps(each))}
        return cls(FlatSpace(SearchSpace(tuple(parameters))), steps)

    def point(self, params: Mapping[str, Any]) -> Point:
        """Return the part of Optuna's parameters that lies in the flat space."""
        point = {name: self._count(name, value) for name, value in params.items()}
        return {name: value for name, value in point.items() if self.flat.fits({name: value})}

    def params(self, point: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return Optuna's parameters for a point: the inverse of :meth:`point`."""
        return {name: self._value(name, value) for name, value in point.items()}

    def _count(self, name: str, value: Any) -> Any:
        if name not in self.steps:
            return value
        low, step, _high = self.steps[name]
        return round((value - low) / step)

    def _value(self, name: str, value: Any) -> Any:
        if name not in self.steps:
            return value
        low, step, high = self.steps[name]
        return min(low + value * step, high)


def domain(distribution: BaseDistribution) -> Domain:
    """Return our domain for one of Optuna's distributions; one with a step is the range of their count."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(distribution.choices)  # type: ignore[arg-type]  # None is no scalar, but kept as it is
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise TypeError(f"expected one of Optuna's three distributions, but got {distribution!r}")
    if steps := _steps(distribution):
        low, step, high = steps
        return Range(0, round((high - low) / step), integer=True)
    integer = isinstance(distribution, IntDistribution)
    return Range(distribution.low, distribution.high, distribution.log, integer)


def _steps(distribution: BaseDistribution) -> Steps | None:
    """Return a distribution's steps, None where it has none or a range of whole numbers does as well."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return distribution.low, distribution.step, distribution.high
    if isinstance(distribution, IntDistribution) and distribution.step != 1:
        return distribution.low, distribution.step, distribution.high
    return None
