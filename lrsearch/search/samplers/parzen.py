"""Parzen estimators: densities from observed points, one kernel for each and a wide one beside them.

Bandwidths, weights and priors are those of Optuna's multivariate TPE (Watanabe 2023, arXiv 2304.11127); here
many points are drawn and judged at once. Ranges are scaled to [0, 1], which changes no ratio of densities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from lrsearch.parameters import Choice, Domain, Range

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

NEWEST = 25  # observations that weigh as much as the prior; older ones weigh less and less
NARROWEST = 100  # no kernel is narrower than this part of its range
ROOT_OF_2_PI = float(np.sqrt(2 * np.pi))
ROWS_AT_ONCE = 2048  # bounds the memory that densities take


@dataclass(frozen=True)
class Line:
    """Normal distributions over a range of real numbers, cut off at its ends.

    Args:
        domain: the range.
        means: coordinates in [0, 1], shape ``[kernels]``.
        widths: standard deviations, shape ``[kernels]``.
    """

    domain: Range
    means: Floats
    widths: Floats

    def sample(self, chosen: Indices, uniform: Floats) -> Floats:
        """Return a coordinate from each chosen kernel, by the inverse of its distribution function."""
        mean, width = self.means[chosen], self.widths[chosen]
        low, high = ndtr(-mean / width), ndtr((1 - mean) / width)
        x: Floats = mean + width * ndtri(low + uniform * (high - low))
        return x.clip(0.0, 1.0)

    @property
    def log_mass(self) -> Floats:
        """The logarithm of each kernel's part that lies between the ends."""
        mass: Floats = ndtr((1 - self.means) / self.widths) - ndtr(-self.means / self.widths)
        return np.log(mass)


class Cells(Line):
    """Normal distributions over a range of whole numbers: their mass in the cell of each."""

    def sample(self, chosen: Indices, uniform: Floats) -> Floats:
        """Return the coordinate of a whole number from each chosen kernel."""
        return whole(self.domain, super().sample(chosen, uniform))

    def log_density(self, x: Floats) -> Floats:
        """Return the log mass of each kernel at coordinates, shape ``[coordinates, kernels]``."""
        numbers, places = np.unique(x, return_inverse=True)
        low, high = (ndtr((edge[:, None] - self.means) / self.widths) for edge in cells(self.domain, numbers))
        with np.errstate(divide="ignore"):  # far from a kernel its mass is zero; the prior's never is
            density: Floats = np.log(high - low) - self.log_mass
        return density[places]


@dataclass(frozen=True)
class Choices:
    """Probabilities of options.

    Args:
        weights: shape ``[kernels, options]``, each row with the sum 1.
    """

    weights: Floats

    def sample(self, chosen: Indices, uniform: Floats) -> Floats:
        """Return an option's index from each chosen kernel."""
        edges = self.weights[chosen].cumsum(axis=1)[:, :-1]
        index: Floats = np.sum(edges <= uniform[:, None], axis=1, dtype=np.float64)
        return index

    def log_density(self, x: Floats) -> Floats:
        """Return the log probability of options in each kernel, shape ``[coordinates, kernels]``."""
        density: Floats = np.log(self.weights.T)[x.astype(np.intp)]
        return density


Kernels = Line | Cells | Choices
"""The kernels of one parameter."""


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of kernels, each the product of one kernel for each parameter.

    Args:
        kernels: of each parameter.
        weights: of the kernels.
    """

    kernels: Sequence[Kernels]
    weights: Floats

    @classmethod
    def of(cls, domains: Sequence[Domain], observations: Floats) -> Self:
        """Return the mixture of observed points and the prior.

        Args:
            domains: of the parameters, each with more than one value.
            observations: coordinates, shape ``[n, parameters]``, oldest first.
        """
        weights = np.append(recency_weights(len(observations)), 1.0)
        columns = zip(domains, observations.T, strict=True)
        return cls([_fitted(domain, column) for domain, column in columns], weights)

    @classmethod
    def beside(cls, domains: Sequence[Domain], point: Floats, observations: Floats) -> Self:
        """Return the one kernel that a further point has beside observed ones."""
        columns = zip(domains, point, observations.T, strict=True)
        return cls([_added(domain, x, column) for domain, x, column in columns], np.ones(1))

    def sample(self, uniform: Floats) -> Floats:
        """Return coordinates of random points, shape ``[points, parameters]``.

        Args:
            uniform: random numbers in [0, 1), shape ``[points, 1 + parameters]``.
        """
        edges = self.weights.cumsum()
        chosen = np.searchsorted(edges[:-1], uniform[:, 0] * edges[-1], side="right")
        columns = zip(self.kernels, uniform[:, 1:].T, strict=True)
        return np.stack([kernels.sample(chosen, column) for kernels, column in columns], axis=1)

    def log_density(self, points: Floats) -> Floats:
        """Return the logarithm of the weighted sum at points, shape ``[points, parameters]``."""
        parts = [points[i : i + ROWS_AT_ONCE] for i in range(0, len(points), ROWS_AT_ONCE)]
        return np.concatenate([_log_sum(self._log_products(part)) for part in parts])

    def _log_products(self, points: Floats) -> Floats:
        """Return the weighted log density of each kernel at each point, shape ``[points, kernels]``."""
        lines: list[tuple[Line, Floats]] = []
        total = np.tile(np.log(self.weights), (len(points), 1))
        for kernels, column in zip(self.kernels, points.T, strict=True):
            if isinstance(kernels, Cells | Choices):
                total += kernels.log_density(column)
            else:
                lines.append((kernels, column))
        return total + _on_lines(lines) if lines else total


def coordinates(domain: Domain, values: Sequence[object]) -> Floats:
    """Return where values lie: in [0, 1] of a range's scale, or the index of an option."""
    if isinstance(domain, Choice):
        places = {option: place for place, option in enumerate(domain.options)}
        return np.array([places[value] for value in values], dtype=np.float64)  # type: ignore[index]  # an option
    return _positions(domain, np.array(values, dtype=np.float64))


def whole(domain: Range, x: Floats) -> Floats:
    """Return the coordinates of the whole numbers in whose cells coordinates lie."""
    start, end = _ends(domain)
    numbers = start + x * (end - start)
    numbers = np.floor((np.exp(numbers) if domain.log else numbers) + 0.5)
    return _positions(domain, np.clip(numbers, domain.low, domain.high))


def cells(domain: Range, x: Floats) -> tuple[Floats, Floats]:
    """Return the lower and upper edges of the cells of whole numbers at coordinates."""
    start, end = _ends(domain)
    numbers = start + x * (end - start)
    numbers = np.round(np.exp(numbers) if domain.log else numbers)
    return _positions(domain, numbers - 0.5), _positions(domain, numbers + 0.5)


def recency_weights(n: int) -> Floats:
    """Return the weights of n observations, oldest first: a ramp up to the newest ones, which all weigh 1."""
    if n < NEWEST:
        return np.ones(n)
    return np.concatenate([np.linspace(1 / n, 1, n - NEWEST), np.ones(NEWEST)])


def bandwidths(means: Floats) -> Floats:
    """Return the width of each kernel: the distance to its farther neighbour; the ends of the range are such.

    The outermost kernels take the distance to their one neighbour, if they have one.
    """
    order = np.argsort(means)
    gaps = np.diff(means[order], prepend=0.0, append=1.0)
    widths = np.maximum(gaps[:-1], gaps[1:])
    if len(means) > 1:
        widths[[0, -1]] = gaps[[1, -2]]
    placed = np.empty_like(widths)
    placed[order] = widths
    return np.clip(placed, _narrowest(len(means)), 1.0)


def _narrowest(n: int) -> float:
    return 1 / min(NARROWEST, n + 2)


def _fitted(domain: Domain, column: Floats) -> Kernels:
    if isinstance(domain, Range):
        return _normals(domain, np.append(column, 0.5), np.append(bandwidths(column), 1.0))
    weights = np.full((len(column) + 1, len(domain.options)), 1 / (len(column) + 1))
    weights[np.arange(len(column)), column.astype(np.intp)] += 1
    return Choices(weights / weights.sum(axis=1, keepdims=True))


def _added(domain: Domain, x: float, column: Floats) -> Kernels:
    n = len(column) + 1
    if isinstance(domain, Range):
        gaps = x - column[column <= x].max(initial=0.0), column[column >= x].min(initial=1.0) - x
        return _normals(domain, np.array([x]), np.clip([max(gaps)], _narrowest(n), 1.0))
    weights = np.full((1, len(domain.options)), 1 / (n + 1))
    weights[0, int(x)] += 1
    return Choices(weights / weights.sum())


def _normals(domain: Range, means: Floats, widths: Floats) -> Line:
    return Cells(domain, means, widths) if domain.integer else Line(domain, means, widths)


def _on_lines(lines: Sequence[tuple[Line, Floats]]) -> Floats:
    """Return the sum of the log densities of several parameters, all squared distances by matrix products."""
    x = np.stack([column for _kernels, column in lines], axis=1)
    means = np.stack([kernels.means for kernels, _column in lines])
    widths = np.stack([kernels.widths for kernels, _column in lines])
    log_mass = np.sum([kernels.log_mass for kernels, _column in lines], axis=0)
    precisions = widths**-2
    constant = (
        -0.5 * (means**2 * precisions).sum(axis=0) - log_mass - np.log(widths * ROOT_OF_2_PI).sum(axis=0)
    )
    density: Floats = x @ (means * precisions) - 0.5 * (x**2 @ precisions) + constant
    return density


def _log_sum(logs: Floats) -> Floats:
    highest = np.maximum(logs.max(axis=1), np.finfo(np.float64).min)  # a mass of zero is no NaN
    logs -= highest[:, None]
    with np.errstate(divide="ignore"):
        total: Floats = np.log(np.exp(logs, out=logs).sum(axis=1)) + highest
    return total


def _ends(domain: Range) -> tuple[float, float]:
    margin = 0.5 if domain.integer else 0.0
    low, high = domain.low - margin, domain.high + margin
    return (float(np.log(low)), float(np.log(high))) if domain.log else (low, high)


def _positions(domain: Range, numbers: Floats) -> Floats:
    start, end = _ends(domain)
    return ((np.log(numbers) if domain.log else numbers) - start) / (end - start)
