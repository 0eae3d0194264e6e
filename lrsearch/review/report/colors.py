"""Colours of the report: of middle lightness, so that they are seen on white and on black."""

import math
from collections.abc import Sequence

GREY = "#8a93a0"
ACCENT = "#2f7fd1"
BEST = "#c2379a"
BOUND = "#7c8794"
INTERVAL = "#1e9e6a"

# By how a trial ended.
OUTCOMES = {
    "complete": ACCENT,
    "stopped": "#d98c00",
    "diverged": "#d1453b",
    "failed": "#8a5cd0",
    "running": GREY,
}

# Told apart by the colour-blind too, as far as so many can be (after Okabe and Ito, and Tol).
SERIES = (
    "#2f7fd1",
    "#e08a00",
    "#1e9e6a",
    "#8c8a1d",
    "#d9542b",
    "#7a6bd6",
    "#2aa5b8",
    "#a0673a",
    "#b0607f",
    "#6b8e23",
    "#7d5ba6",
    "#5f7f9f",
    "#3f8f8f",
    "#4f9f4f",
    "#9a79c8",
    "#c79a2a",
)

MANY = 100  # marks from which on they get fainter
FAINTEST = 0.3

SCALE = ("#4a62d8", "#2f93d0", "#1e9e8a", "#7fa02a", "#e0a100", "#e0702a", "#d23b4e")
"""From small to large, for values that have an order."""


def series_colors(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name; there are sixteen, then they repeat."""
    return {name: SERIES[place % len(SERIES)] for place, name in enumerate(names)}


def opacity(usual: float, count: int) -> float:
    """Return how opaque many marks are: the more there are, the fainter, that all are seen."""
    return round(usual * min(1.0, max(FAINTEST, math.sqrt(MANY / max(count, 1)))), 2)


def level(value: float, low: float, high: float) -> int:
    """Return which colour of :data:`SCALE` a value has, by its logarithm.

    Args:
        value: above 0.
        low: where the scale begins, above 0.
        high: where it ends.
    """
    if low >= high:
        return len(SCALE) // 2
    position = math.log(value / low) / math.log(high / low)
    return min(max(int(position * len(SCALE)), 0), len(SCALE) - 1)


def level_bounds(place: int, low: float, high: float) -> tuple[float, float]:
    """Return the values between which a colour of :data:`SCALE` stands."""
    ratio = high / low
    return low * ratio ** (place / len(SCALE)), low * ratio ** ((place + 1) / len(SCALE))
