"""A search space as a unit cube of fixed dimension, for samplers that cannot handle conditions."""

from collections.abc import Mapping
from itertools import count

import numpy as np
import numpy.typing as npt

from lrsearch.errors import SpecError
from lrsearch.parameters import Choice, Parameter, Point, Scalar, SearchSpace
from lrsearch.search.space import domain_of

Vector = npt.NDArray[np.float64]
Options = dict[str, frozenset[Scalar]]


class FlatSpace:
    """The points of a search space as vectors in a unit cube.

    - A choice that decides which other parameters exist (``kind``) has one score per option.
    - Every other parameter has one coordinate: its position in its range.
    - Parameters of different options never exist together, so they share coordinates: the j-th knob of every
      kind lies on the j-th shared one, and what was learned of one shape serves the others. Those that
      several options have in common (``warmup_fraction``) keep a coordinate of their own.

    Args:
        space: the tree of parameters.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._slices = _layout(space)
        self._searched = {parameter.name: parameter for parameter in space.searched}

    @property
    def dimension(self) -> int:
        """The number of coordinates."""
        return max((part.stop for part in self._slices.values()), default=0)

    @property
    def scores(self) -> tuple[slice, ...]:
        """The coordinates that hold scores, by choice."""
        return tuple(part for part in self._slices.values() if part.stop - part.start > 1)

    def coordinate(self, name: str) -> int:
        """Return the coordinate of a searched parameter, the first one of a choice with scores."""
        return int(self._slices[name].start)

    def fits(self, part: Mapping[str, Scalar]) -> bool:
        """Return whether every value of a part of a point belongs to a searched parameter's range."""
        return all(
            name in self._searched and domain_of(self._searched[name]).contains(value)
            for name, value in part.items()
        )

    def decode(self, vector: Vector, rng: np.random.Generator | None = None) -> Point:
        """Return the searched part of the point at a vector.

        Args:
            vector: shape ``[dimension]``, each coordinate in [0, 1].
            rng: draws options with probabilities proportional to their scores; None takes the highest score.
        """

        def choose(parameter: Parameter) -> Scalar:
            part = vector[self._slices[parameter.name]]
            domain = domain_of(parameter)
            if isinstance(domain, Choice) and len(part) > 1:
                return domain.options[_chosen(part, rng)]
            return domain.at(float(part[0]))

        return self.space.searched_part(self.space.walk(choose))

    def encode(self, point: Mapping[str, Scalar], filling: float | Vector = 0.5) -> Vector:
        """Return the vector of a point, or of a part of one: the inverse of :meth:`decode`.

        Args:
            point: searched values by canonical name; others are passed over.
            filling: what coordinates get that nothing in the point decides: a number for all, or a vector.

        Raises:
            SpecError: if a value lies outside its parameter's range.
        """
        vector = np.full(self.dimension, filling, dtype=np.float64)
        for name, parameter in self._searched.items():
            if name in point:
                vector[self._slices[name]] = self._positions(parameter, point[name])
        return vector

    def even(self, vector: Vector) -> Vector:
        """Return the vector with each choice decided by its first score alone, all options in equal parts.

        An evenly spread sequence of vectors then spreads evenly over the options too, which the highest of
        many scores would not.
        """
        decided = vector.copy()
        for part in self.scores:
            size = part.stop - part.start
            decided[part] = one_hot(min(int(vector[part.start] * size), size - 1), size)
        return decided

    def _positions(self, parameter: Parameter, value: Scalar) -> Vector | float:
        domain = domain_of(parameter)
        if not domain.contains(value):
            raise SpecError(f"{parameter.name} must lie within {domain}, but got {value!r}")
        part = self._slices[parameter.name]
        if isinstance(domain, Choice) and part.stop - part.start > 1:
            return one_hot(domain.options.index(value), len(domain.options))
        return domain.position(value)


def one_hot(index: int, size: int) -> Vector:
    """Return the scores of a choice that is made: 1 for one option, 0 for the others."""
    scores = np.zeros(size)
    scores[index] = 1.0
    return scores


def _chosen(scores: Vector, rng: np.random.Generator | None) -> int:
    if rng is None:
        return int(np.argmax(scores))
    total = scores.sum()
    return int(rng.choice(len(scores), p=scores / total if total > 0 else None))


def _layout(space: SearchSpace) -> dict[str, slice]:
    """Return the coordinates of every searched parameter: own ones first, then the shared ones."""
    conditions = {parameter.name: _options(space, parameter) for parameter in space.searched}
    slices: dict[str, slice] = {}
    end = 0
    for parameter in space.searched:
        if not _is_shared(conditions, parameter.name):
            size = _score_count(space, parameter, conditions[parameter.name])
            slices[parameter.name] = slice(end, end + size)
            end += size
    shared = [name for name in conditions if name not in slices]
    places = _places({name: conditions[name] for name in shared})
    return slices | {name: slice(end + place, end + place + 1) for name, place in places.items()}


def _options(space: SearchSpace, parameter: Parameter) -> Options:
    """Return the options of each searched ancestor, nearest first, under which a parameter exists."""
    parameters = {each.name: each for each in space.parameters}
    options: Options = {}
    condition = parameter.condition
    while condition is not None:
        parent = parameters[condition.parent]
        if not parent.fixed:
            options[parent.name] = condition.values
        condition = parent.condition
    return options


def _is_shared(conditions: Mapping[str, Options], name: str) -> bool:
    """Return whether a parameter belongs to one option only of the topmost choice above it."""
    options = conditions[name]
    return bool(options) and len(list(options.values())[-1]) == 1


def _score_count(space: SearchSpace, parameter: Parameter, options: Options) -> int:
    domain = domain_of(parameter)
    decides = any(each.condition and each.condition.parent == parameter.name for each in space.parameters)
    return len(domain.options) if isinstance(domain, Choice) and decides and not options else 1


def _places(conditions: Mapping[str, Options]) -> dict[str, int]:
    """Give each parameter the first place that none has with which it may exist together."""
    places: dict[str, int] = {}
    for name, options in conditions.items():
        taken = {places[other] for other in places if not _exclusive(options, conditions[other])}
        places[name] = next(place for place in count() if place not in taken)
    return places


def _exclusive(one: Options, other: Options) -> bool:
    return any(one[parent].isdisjoint(other[parent]) for parent in one.keys() & other.keys())
