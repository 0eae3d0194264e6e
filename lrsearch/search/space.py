"""A search space in Optuna's terms."""

from typing import cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from lrsearch.parameters import Choice, Domain, Parameter, Point, Range, Scalar, SearchSpace


def distribution(domain: Domain) -> BaseDistribution:
    """Return Optuna's distribution for a domain."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(float(domain.low), float(domain.high), log=domain.log)


def domain_of(parameter: Parameter) -> Domain:
    """Return the domain of a searched parameter."""
    if not isinstance(parameter.domain, Range | Choice):
        raise TypeError(f"{parameter.name} is fixed and has no domain")
    return parameter.domain


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the distributions of all searched parameters, conditional ones included."""
    return {parameter.name: distribution(domain_of(parameter)) for parameter in space.searched}


def suggest(trial: BaseTrial, space: SearchSpace) -> Point:
    """Return a whole point, its searched part suggested by the trial's sampler under canonical names."""

    def choose(parameter: Parameter) -> Scalar:
        domain = domain_of(parameter)
        if isinstance(domain, Choice):
            return cast("Scalar", trial.suggest_categorical(parameter.name, domain.options))
        if domain.integer:
            return trial.suggest_int(parameter.name, int(domain.low), int(domain.high), log=domain.log)
        return trial.suggest_float(parameter.name, float(domain.low), float(domain.high), log=domain.log)

    return space.walk(choose)
