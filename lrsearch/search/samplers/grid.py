"""Every point of a grid, each once."""

from collections.abc import Mapping, Sequence
from functools import cache
from zlib import crc32

import numpy as np

from lrsearch.errors import SpecError
from lrsearch.parameters import Parameter, Point, Scalar, SearchSpace
from lrsearch.search.samplers.history import Attempt
from lrsearch.search.samplers.proposing import ProposingSampler, Turn
from lrsearch.search.space import domain_of

Deciding = tuple[tuple[str, Scalar], ...]


class Grid:
    """The conditional product of a space's values: a parameter counts only where it exists.

    Args:
        space: whose searched parameters all list values, or have ``points``.

    Raises:
        SpecError: naming the parameter that lists none.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._parameters = space.parameters
        self._values = {parameter.name: grid_values(parameter) for parameter in space.parameters}
        self._parents = {each.condition.parent for each in space.parameters if each.condition is not None}
        self._count = cache(self._count_from)

    @property
    def size(self) -> int:
        """The number of points."""
        return self._count(0, ())

    def __getitem__(self, index: int) -> Point:
        """Return the point at an index; later parameters change faster.

        Raises:
            SpecError: if there are fewer points.
        """
        if not 0 <= index < self.size:
            raise SpecError(
                f"the grid has {self.size} points, but trial {index + 1} was asked for; "
                "lower trials, or give more values (points = n)"
            )
        point: Point = {}
        for place, parameter in enumerate(self._parameters):
            if parameter.exists_in(point):
                point[parameter.name], index = self._step(place, point, index)
        return point

    def _step(self, place: int, point: Point, index: int) -> tuple[Scalar, int]:
        """Return a parameter's value at an index among all that may follow, and the index below it."""
        name = self._parameters[place].name
        for value in self._values[name]:
            below = self._count(place + 1, self._deciding({**point, name: value}))
            if index < below:
                return value, index
            index -= below
        raise IndexError(index)

    def _count_from(self, place: int, deciding: Deciding) -> int:
        """Return the number of ways to choose the parameters from a place on."""
        if place == len(self._parameters):
            return 1
        parameter, point = self._parameters[place], dict(deciding)
        if not parameter.exists_in(point):
            return self._count(place + 1, deciding)
        return sum(
            self._count(place + 1, self._deciding({**point, parameter.name: value}))
            for value in self._values[parameter.name]
        )

    def _deciding(self, point: Mapping[str, Scalar]) -> Deciding:
        """Return the values on which the existence of others depends: few, so that counts are shared."""
        return tuple((name, value) for name, value in point.items() if name in self._parents)


def grid_values(parameter: Parameter) -> tuple[Scalar, ...]:
    """Return the values of a parameter in a grid; a fixed one has one.

    Raises:
        SpecError: if it is a range that lists none.
    """
    if parameter.fixed:
        return (parameter.domain,)  # type: ignore[return-value]  # fixed: a scalar
    try:
        return domain_of(parameter).grid()
    except SpecError as error:
        raise SpecError(f"{parameter.name}: {error}") from None


def grid_size(space: SearchSpace) -> int:
    """Return the number of points of a space's grid.

    Raises:
        SpecError: naming a parameter that lists no values.
    """
    return Grid(space).size


class GridSampler(ProposingSampler):
    """Samples every point of a grid, trial i the i-th.

    Args:
        space: whose searched parameters all list values, or have ``points``.
        seed: of the study; used only where a prescribed value leaves the grid's point incomplete.
        index: which point of the grid, from 0; None takes the trial's number.

    Raises:
        SpecError: if a parameter lists no values.
    """

    learns = False

    def __init__(self, space: SearchSpace, *, seed: int | None = None, index: int | None = None) -> None:
        super().__init__(space, seed=seed, index=index)
        self._grid = Grid(space)

    def propose(self, turns: Sequence[Turn], history: Sequence[Attempt]) -> list[Point]:  # noqa: ARG002
        """Return the grid's point at each turn's index.

        Raises:
            SpecError: if the grid has fewer points.
        """
        return [self._point(turn) for turn in turns]

    def _point(self, turn: Turn) -> Point:
        listed = self._grid[turn.index]

        def choose(parameter: Parameter) -> Scalar:
            if parameter.name in turn.prescribed:
                return turn.prescribed[parameter.name]
            if parameter.name in listed:
                return listed[parameter.name]
            # It exists only beside a prescribed value.
            values = grid_values(parameter)
            rng = np.random.default_rng([self._seed, turn.index, crc32(parameter.name.encode())])
            return values[rng.integers(len(values))]

        return self._space.searched_part(self._space.walk(choose))
