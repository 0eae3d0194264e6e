"""Smoothed curves of a range test: the loss over the logarithm of the lr, without its noise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lrsearch.lr_range.curve import Array, LaneCurve, RangeTest
from lrsearch.lr_range.growth import Growth

POINTS = 201  # of a smoothed curve
BANDWIDTHS = (0.015, 0.03, 0.06, 0.12)  # of the smoothing, as fractions of the range of log lr
BANDWIDTH_STEPS = 2  # of the smoothing at least, in steps
NEIGHBOURS = 12  # steps to each side by which the scatter is judged
MEDIAN_DEVIATION = 0.6745  # of a normal distribution, in standard deviations
BEGINNING = 5  # losses behind the untrained one by which a curve's beginning is judged
CUT_OFF = 0.35  # part of the descent above its beginning at which a curve is cut off
LEAST_CUT_OFF = 0.01  # part of the loss at its beginning


@dataclass(frozen=True, eq=False)
class SmoothedCurves:
    """Loss over lr without its noise, at points that are evenly spaced in log lr.

    Args:
        lrs: learning rates, shape ``[points]``.
        lanes: smoothed losses, shape ``[lanes, points]``.
        noise: standard error that is left in the median of the lanes, shape ``[points]``.
        scatter: standard error of the median of the lanes at a single step, without smoothing.
    """

    lrs: Array
    lanes: Array
    noise: Array
    scatter: float

    @property
    def median(self) -> Array:
        """The median over the lanes, which one that explodes does not move, shape ``[points]``."""
        return np.asarray(np.median(self.lanes, axis=0))


def smoothed(test: RangeTest, bandwidth: float = BANDWIDTHS[0]) -> SmoothedCurves:
    """Smooth the losses of every lane over log lr, exponentially and to both sides.

    A smoothed loss is a weighted mean, with weights exp(-|distance in log lr| / bandwidth) of every loss
    around it, so it neither lags behind the learning rate nor starts at zero. A loss also counts by the
    stretch of log lr that it stands for: with linear growth nearly all lie at the upper end. A lane that has
    diverged goes on with the loss at which a curve is cut off.

    Args:
        test: the range test.
        bandwidth: as a fraction of the range of log lr.
    """
    lrs = test.growth.lrs()
    position = np.log(lrs)
    # A test that ends with its first update is a point, not a curve.
    points = np.linspace(position[0], position[max(test.steps, 2) - 1], POINTS)
    weights = _weights(points, position, _log_bandwidth(test.growth, bandwidth))
    losses = np.stack([_whole(lane, test.growth.steps) for lane in test.lanes])
    scatter = _median_error(np.stack([_scatter(lane) for lane in losses]))
    noise = np.sqrt(((weights * scatter) ** 2).sum(axis=1))
    return SmoothedCurves(np.exp(points), losses @ weights.T, noise, float(scatter[0]))


def cut_off(lane: LaneCurve) -> float:
    """Return the loss at which a curve is cut off: little above its beginning.

    Higher, and the smoothing would carry an explosion back to where the loss is lowest. Not so low that it
    hides a rise: above what the losses at the beginning differ by.
    """
    first = (lane.untrained_loss, *lane.losses[:BEGINNING])
    beginning = max(first)
    descent = beginning - min(lane.untrained_loss, *lane.losses, math.inf)
    differ = min(2 * (beginning - min(first)), descent)
    return beginning + max(CUT_OFF * descent, differ, LEAST_CUT_OFF * abs(beginning))


def _log_bandwidth(growth: Growth, bandwidth: float) -> float:
    """Return the bandwidth of the smoothing in log lr."""
    return max(bandwidth, BANDWIDTH_STEPS / growth.steps) * math.log(growth.high / growth.low)


def _weights(points: Array, position: Array, bandwidth: float) -> Array:
    """Return the weight of every loss in every point, shape ``[points, steps]``, each row of sum 1."""
    exponents = -np.abs(points[:, None] - position) / bandwidth
    # The nearest loss has exponent 0, so that no row underflows to zeros.
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True)) * np.gradient(position)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _whole(lane: LaneCurve, steps: int) -> Array:
    """Return a lane's losses, cut off and continued to the last step, shape ``[steps]``."""
    losses = np.minimum(lane.losses, cut_off(lane))
    last = cut_off(lane) if lane.diverged or not lane.losses else losses[-1]
    return np.concatenate([losses, np.full(steps - len(losses), last)])


def _scatter(losses: Array) -> Array:
    """Return the standard deviation of a lane's losses around their trend, step by step, shape ``[steps]``.

    Taken from the differences of neighbours, by the median of those around, which ignores single jumps.
    """
    differences = np.abs(np.diff(losses, prepend=losses[1])) / math.sqrt(2)
    around = np.pad(differences, NEIGHBOURS, mode="reflect")
    return np.asarray(np.median(sliding_window_view(around, 2 * NEIGHBOURS + 1), axis=-1)) / MEDIAN_DEVIATION


def _median_error(deviations: Array) -> Array:
    """Return the standard error of the lanes' median from the deviation of each, shape ``[steps]``."""
    lanes = len(deviations)
    mean_error = np.sqrt((deviations**2).sum(axis=0)) / lanes
    # The median of two is their mean; of more, it scatters by up to sqrt(pi / 2) times as much.
    factor = math.sqrt(math.pi * lanes / (2 * lanes + math.pi - 2)) if lanes > 2 else 1.0
    return np.asarray(factor * mean_error)
