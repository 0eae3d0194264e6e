"""The tree-structured Parzen estimator, fitted once for all the points that are asked for together."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest

import numpy as np

from lrsearch.parameters import Choice, Condition, Domain, Parameter, Point, SearchSpace
from lrsearch.search.samplers.history import Attempt
from lrsearch.search.samplers.parzen import Floats, Mixture, coordinates
from lrsearch.search.samplers.proposing import ProposingSampler, Turn
from lrsearch.search.samplers.random_sampler import random_point
from lrsearch.search.space import domain_of

STARTUP_TRIALS = 10
CANDIDATES = 24
GOOD_PART, MOST_GOOD = 0.1, 25
MODELLED = 1000  # of the trials that are not good, the latest: their density then costs the same for ever


class TreeParzenSampler(ProposingSampler):
    """Proposes where good trials lie dense and others do not (Bergstra et al. 2011), as Optuna's TPESampler.

    It models parameters that exist together jointly, and counts running trials among the poor ones, so that
    those that run at once differ: Optuna's ``multivariate``, ``group`` and ``constant_liar``. Unlike there,
    all proposals for one refill share one model, to which each is added; trials that failed count as poor,
    and those that diverged never as good. The good ones are the best tenth, 25 at most; of the others the
    latest 1000 are modelled.

    Args:
        space: the tree of parameters.
        seed: of the study; None draws one.
        index: the place of this sampler's one proposal in the sequence, from 0; None takes the trial's
            number.
    """

    def propose(self, turns: Sequence[Turn], history: Sequence[Attempt]) -> list[Point]:
        """Return a point for each turn; the first ones of a study are random."""
        finished = [attempt for attempt in history if attempt.rank is not None]
        if len(finished) < STARTUP_TRIALS:
            return [random_point(self._space, self._seed, turn) for turn in turns]
        good, poor = split(history, finished)
        points = [dict(turn.prescribed) for turn in turns]
        generators = [np.random.default_rng([self._seed, turn.index]) for turn in turns]
        for group in groups(self._space):
            for parameters, members in _alike(group, points):
                drawn = [generators[place].random((CANDIDATES, 1 + len(parameters))) for place in members]
                for place, part in zip(members, _parts(parameters, good, poor, drawn), strict=True):
                    points[place] |= part
        order = [parameter.name for parameter in self._space.searched]
        return [{name: point[name] for name in order if name in point} for point in points]


@dataclass(frozen=True)
class Group:
    """Parameters that exist together.

    Args:
        condition: when they do; None means always.
        parameters: searched ones.
    """

    condition: Condition | None
    parameters: tuple[Parameter, ...]


def groups(space: SearchSpace) -> Iterator[Group]:
    """Yield the parameters of a space, those of one condition together, parents before children."""
    by_condition: dict[Condition | None, list[Parameter]] = defaultdict(list)
    for parameter in space.searched:
        by_condition[_searched_condition(space, parameter)].append(parameter)
    for condition, parameters in by_condition.items():
        yield Group(condition, tuple(parameters))


def split(
    history: Sequence[Attempt], finished: Sequence[Attempt]
) -> tuple[Sequence[Attempt], Sequence[Attempt]]:
    """Return the good trials, and the latest of all others: poor, failed and running ones."""
    count = min(math.ceil(GOOD_PART * len(finished)), MOST_GOOD)
    best = nsmallest(count, finished, key=lambda attempt: (attempt.rank, attempt.index))
    good = [attempt for attempt in best if attempt.rank is not None and not attempt.rank.diverged]
    taken = {id(attempt) for attempt in good}
    poor = [attempt for attempt in history if id(attempt) not in taken]
    return sorted(good, key=lambda attempt: attempt.index), poor[-MODELLED:]


def _searched_condition(space: SearchSpace, parameter: Parameter) -> Condition | None:
    """Return the nearest condition that depends on a searched parameter; those on fixed ones always hold."""
    parameters = {each.name: each for each in space.parameters}
    condition = parameter.condition
    while condition is not None and parameters[condition.parent].fixed:
        condition = parameters[condition.parent].condition
    return condition


def _alike(group: Group, points: Sequence[Point]) -> list[tuple[tuple[Parameter, ...], list[int]]]:
    """Return which of a group's parameters are left to choose, and the places of points that lack them."""
    left: dict[tuple[Parameter, ...], list[int]] = defaultdict(list)
    for place, point in enumerate(points):
        if group.condition is None or group.condition.holds(point):
            left[tuple(each for each in group.parameters if each.name not in point)].append(place)
    return [(parameters, places) for parameters, places in left.items() if parameters]


def _parts(
    parameters: Sequence[Parameter],
    good: Sequence[Attempt],
    poor: Sequence[Attempt],
    drawn: Sequence[Floats],
) -> list[Point]:
    """Return values of some parameters for as many points as there are arrays of random numbers."""
    searched = {each.name: domain_of(each) for each in parameters if not _single(domain_of(each))}
    single = {each.name: domain_of(each).at(0.0) for each in parameters if _single(domain_of(each))}
    if not searched:
        return [dict(single) for _turn in drawn]
    domains = list(searched.values())
    columns = [0, *(1 + i for i, each in enumerate(parameters) if each.name in searched)]
    chosen = _chosen(
        domains, _observed(searched, good), _observed(searched, poor), [each[:, columns] for each in drawn]
    )
    return [
        single | {name: _value(domain, x) for (name, domain), x in zip(searched.items(), row, strict=True)}
        for row in chosen
    ]


def _chosen(domains: Sequence[Domain], good: Floats, poor: Floats, drawn: Sequence[Floats]) -> list[Floats]:
    """Return for each turn the candidate with the best ratio of densities, all of them different."""
    below, above = Mixture.of(domains, good), Mixture.of(domains, poor)
    candidates = below.sample(np.concatenate(drawn))
    gain, loss = below.log_density(candidates), above.log_density(candidates)
    chosen: list[Floats] = []
    for start in range(0, len(candidates), CANDIDATES):
        if chosen:
            rest = slice(start, None)
            beside = Mixture.beside(domains, chosen[-1], poor).log_density(candidates[rest])
            loss[rest] = np.logaddexp(loss[rest], beside)
            poor = np.vstack([poor, chosen[-1]])
        mine = slice(start, start + CANDIDATES)
        chosen.append(candidates[mine][np.argmax(gain[mine] - loss[mine])])
    return chosen


def _observed(domains: dict[str, Domain], attempts: Sequence[Attempt]) -> Floats:
    """Return the coordinates of the attempts that have all of some parameters, shape ``[n, parameters]``."""
    rows = [attempt.params for attempt in attempts if domains.keys() <= attempt.params.keys()]
    columns = [coordinates(domain, [row[name] for row in rows]) for name, domain in domains.items()]
    return np.stack(columns, axis=1)


def _single(domain: Domain) -> bool:
    return len(domain.options) == 1 if isinstance(domain, Choice) else domain.low == domain.high


def _value(domain: Domain, x: float) -> float | int | str | bool:
    return domain.options[int(x)] if isinstance(domain, Choice) else domain.at(float(x))
