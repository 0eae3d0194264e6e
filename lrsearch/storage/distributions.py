"""Ranges of parameters that grow while a study runs, without splitting Optuna's search space."""

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)

from lrsearch.storage.optuna_tables import studies, trial_params, trials


class SharedDistributions:
    """One distribution object for each parameter of a study, held by all its trials in this process.

    Optuna's caches keep finished trials for ever, and its samplers keep those trials' distributions. As all
    of them hold the same object, a range that is widened once is widened everywhere.
    """

    def __init__(self) -> None:
        self._shared: dict[tuple[int, str], BaseDistribution] = {}

    def share(self, study_id: int, distributions: dict[str, BaseDistribution]) -> None:
        """Replace a trial's distributions, in place, by the shared ones, which widen to include them."""
        for name, distribution in distributions.items():
            shared = self._shared.setdefault((study_id, name), distribution)
            if shared is distribution:
                continue
            if include(shared, distribution):
                distributions[name] = shared
            else:
                self._shared[study_id, name] = distribution


def include(known: BaseDistribution, other: BaseDistribution) -> bool:
    """Widen the range ``known``, in place, to include ``other``; return False if their kinds differ."""
    if known == other:
        return True
    if isinstance(known, FloatDistribution) and isinstance(other, FloatDistribution):
        return _include_range(known, other)
    if isinstance(known, IntDistribution) and isinstance(other, IntDistribution):
        return _include_range(known, other)
    return False


def widen_stored(
    connection: sa.Connection, study_id: int, name: str, distribution: BaseDistribution
) -> BaseDistribution:
    """Rewrite one parameter's stored distribution in all trials of a study, and return the new one.

    Args:
        connection: a connection in a transaction.
        study_id: Optuna's id of the study.
        name: the parameter.
        distribution: the range to include.

    Raises:
        ValueError: the distribution is of another kind than the stored ones.
    """
    in_study = sa.select(trials.c.trial_id).where(trials.c.study_id == study_id)
    rows = sa.and_(trial_params.c.param_name == name, trial_params.c.trial_id.in_(in_study))
    # Two processes that widen at once must see each other's range.
    connection.execute(sa.select(studies).where(studies.c.study_id == study_id).with_for_update())
    stored = connection.scalars(sa.select(trial_params.c.distribution_json).where(rows).distinct()).all()
    union = json_to_distribution(distribution_to_json(distribution))
    for other in map(json_to_distribution, stored):
        check_distribution_compatibility(other, union)
        if not include(union, other):
            raise ValueError(f"parameter {name!r} keeps its step: stored {other}, got {distribution}.")
    widened = sa.update(trial_params).where(rows).values(distribution_json=distribution_to_json(union))
    connection.execute(widened)
    return union


def _include_range(
    known: FloatDistribution | IntDistribution, other: FloatDistribution | IntDistribution
) -> bool:
    if (known.log, known.step) != (other.log, other.step):
        return False
    known.low, known.high = min(known.low, other.low), max(known.high, other.high)
    return True
