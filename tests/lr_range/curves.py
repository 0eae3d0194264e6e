"""Range tests whose valley is known because it was drawn by hand."""

from dataclasses import dataclass

import numpy as np

from lrsearch.lr_range import EXPONENTIAL, Growth, RangeTest, lane_curve


@dataclass(frozen=True)
class Valley:
    """A loss over lr: level, then a fall whose middle is known, then an explosive rise.

    Args:
        high: loss at low learning rates.
        low: loss at the foot of the fall.
        fall: learning rate in the middle of the fall, where it is steepest against log lr.
        rise: learning rate at which the loss is back where it began.
        width: of the fall, in decades from 12% to 88% of the way.
    """

    high: float = 2.3
    low: float = 0.3
    fall: float = 1e-2
    rise: float = 1.0
    width: float = 0.5

    def losses(self, lrs):
        """Return the noiseless loss at every lr."""
        down = 1 / (1 + np.exp(-4 * np.log10(lrs / self.fall) / self.width))
        with np.errstate(over="ignore"):
            return self.high - (self.high - self.low) * (down - (lrs / self.rise) ** 3)


def synthetic(losses, growth, noise=0.0, seeds=3, seed=0):
    """Return a range test whose losses are a function of the lr, with noise."""
    random = np.random.default_rng(seed)

    def lane(number):
        values = losses(growth.lrs()) + noise * random.standard_normal(growth.steps)
        untrained = float(losses(growth.lrs())[0] + noise * random.standard_normal())
        return lane_curve(number, untrained, values.tolist())

    return RangeTest("synthetic", growth, tuple(lane(number) for number in range(seeds)))


def exponential(steps=200, low=1e-6, high=10.0):
    """Return exponential growth over the default range."""
    return Growth(EXPONENTIAL, low, high, steps)


def unstable(lrs):
    """Return losses that fall, spike at lr 0.17 nearly as high as they began, and come back to below."""
    fall = Valley(27.0, 2.5, fall=2.5e-3, rise=3.0, width=1.2).losses(lrs)
    spike = 24 * np.exp(-((np.log(lrs / 0.17) / 0.12) ** 2))
    return fall + spike - 1.5 / (1 + (0.2 / lrs) ** 8)
