"""Range tests to be shown: one with everything, and one with nothing to suggest."""

import math

from lrsearch.lr_range import EXPONENTIAL, Growth, LaneCurve, RangeTest, lane_curve


def complete(kind=EXPONENTIAL, low=1e-6, steps=120):
    """Return a test with all zones, three seeds of which the last ends in NaN."""
    growth = Growth(kind, low, 10.0, steps)
    losses = [2.3 - 2 / (1 + (0.01 / lr) ** 2) + lr**2 for lr in growth.lrs()]
    lanes = [lane_curve(seed, 2.3, [loss + 0.01 * seed for loss in losses]) for seed in range(2)]
    lanes.append(lane_curve(2, 2.3, [*losses[: steps * 9 // 10], math.nan]))
    return RangeTest("digits-mlp", growth, tuple(lanes), {"optimizer": "SGD"})


def flat():
    """Return a test of a loss that nothing moves."""
    return RangeTest("flat <task>", Growth(EXPONENTIAL, 1e-6, 10.0, 50), (LaneCurve(0, 1.0, (1.0,) * 50),))


def at_once():
    """Return a test whose first update diverges."""
    return RangeTest("hot", Growth(EXPONENTIAL, 1e-6, 10.0, 50), (LaneCurve(0, 1.0, (), diverged=True),))
