"""A sketch of a range test for a terminal: loss over lr in Braille dots, interval and consensus below."""

import math
from collections.abc import Sequence

import numpy as np

from lrsearch.lr_range import RangeTest, Suggestions, suggestions
from lrsearch.review.range_test_panels import Line, Panel, range_test_picture
from lrsearch.review.range_test_wording import short

DOTS_X, DOTS_Y = 2, 4  # of one Braille character
BLANK = 0x2800
# Bit of each dot, by row and column: Unicode numbers the fourth row last.
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
LEAST_WIDTH, LEAST_HEIGHT = 30, 4


def sketch(test: RangeTest, width: int = 76, height: int = 12) -> list[str]:
    """Return the smoothed median loss over lr (log scale) as lines of text, with what is suggested below.

    Args:
        test: the range test.
        width: columns, taken as at least 30.
        height: rows of the diagram, taken as at least 4; the axis and the marks need three more.
    """
    width, height = max(width, LEAST_WIDTH), max(height, LEAST_HEIGHT)
    panel = range_test_picture(test).panels[0]
    labels = [f"{value:.3g}" for value in np.linspace(*panel.y_range[::-1], height)]
    margin = max(map(len, labels))
    columns = width - margin - 2
    rows = _braille(panel, columns, height)
    lines = [
        f"{label if row % 3 == 0 else '':>{margin}} {'┤' if row % 3 == 0 else '│'}{dots}".rstrip()
        for row, (label, dots) in enumerate(zip(labels, rows, strict=True))
    ]
    lrs = panel.lines[-1].x
    below = [*_axis(lrs, columns), *_marks(suggestions(test), lrs, columns)]
    return [
        *lines,
        f"{'':>{margin}} └{below[0]}",
        *(f"{'':>{margin}}  {line}".rstrip() for line in below[1:]),
    ]


def _braille(panel: Panel, columns: int, height: int) -> list[str]:
    """Return the panel's last line as rows of Braille characters."""
    dots = np.zeros((height * DOTS_Y, columns * DOTS_X), dtype=bool)
    levels = _levels(panel.lines[-1], panel, dots.shape)
    for column, (level, following) in enumerate(zip(levels, [*levels[1:], levels[-1]], strict=True)):
        # Down or up to the middle of the next level, so that a steep line has no gaps.
        low, high = sorted((level, (level + following) // 2))
        dots[max(low, 0) : max(high + 1, 0), column] = True
    return ["".join(_character(dots, row, column) for column in range(columns)) for row in range(height)]


def _levels(line: Line, panel: Panel, shape: tuple[int, int]) -> list[int]:
    """Return the row of the line in every column of dots, from 0 at the top; negative above it."""
    position = np.linspace(math.log(line.x[0]), math.log(line.x[-1]), shape[1])
    losses = np.interp(position, np.log(line.x), line.y)
    low, high = panel.y_range
    return [round(level) for level in ((high - losses) / (high - low) * (shape[0] - 1)).tolist()]


def _character(dots: np.ndarray, row: int, column: int) -> str:
    cell = dots[row * DOTS_Y : (row + 1) * DOTS_Y, column * DOTS_X : (column + 1) * DOTS_X]
    bits = sum(BITS[y][x] for y, x in zip(*np.nonzero(cell), strict=True))
    return chr(BLANK + bits) if bits else " "


def _axis(lrs: Sequence[float], columns: int) -> list[str]:
    """Return the axis with its ticks, and their labels as far as there is room."""
    axis, labels = ["─"] * columns, [" "] * columns
    free = 0
    for lr in _ticks(lrs):
        column, label = _column(lr, lrs, columns), f"{lr:.3g}"
        axis[column] = "┬"
        begin = min(column, columns - len(label))
        if begin >= free:
            labels[begin : begin + len(label)] = label
            free = begin + len(label) + 1
    return ["".join(axis), "".join(labels)]


def _ticks(lrs: Sequence[float]) -> list[float]:
    """Return the powers of ten on the axis, or its ends where there are not two."""
    lowest, highest = math.ceil(math.log10(lrs[0]) - 1e-9), math.floor(math.log10(lrs[-1]) + 1e-9)
    powers = [10.0**exponent for exponent in range(lowest, highest + 1)]
    return powers if len(powers) > 1 else [lrs[0], lrs[-1]]


def _marks(suggested: Suggestions, lrs: Sequence[float], columns: int) -> list[str]:
    """Return the interval as a bar with the consensus in it, and what they are in words."""
    if suggested.lr is None or suggested.interval is None:
        return ["no suggestion"]
    low, high = (_column(lr, lrs, columns) for lr in (suggested.interval.low, suggested.interval.high))
    bar = [" "] * columns
    bar[low : high + 1] = "├" + "─" * (high - low - 1) + "┤" if high > low else "│"
    bar[_column(suggested.lr, lrs, columns)] = "▲"
    words = (
        f"▲ lr {short(suggested.lr)}, ├─┤ {short(suggested.interval.low)} to {short(suggested.interval.high)}"
    )
    return ["".join(bar), words]


def _column(lr: float, lrs: Sequence[float], columns: int) -> int:
    position = math.log(lr / lrs[0]) / math.log(lrs[-1] / lrs[0])
    return min(max(round(position * (columns - 1)), 0), columns - 1)
