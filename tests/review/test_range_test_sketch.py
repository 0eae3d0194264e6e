"""The sketch of a range test: within its width, with a curve that falls where the numbers fall."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.lr_range import EXPONENTIAL, LINEAR, Growth, RangeTest, lane_curve, suggestions
from lrsearch.review.range_test_sketch import BLANK, sketch
from tests.review.range_tests import at_once, complete, flat

BRAILLE = {chr(BLANK + bits) for bits in range(1, 256)}


def curve(lines):
    """Return the row of the highest dot of each column that has one, by column."""
    rows = {}
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            if character in BRAILLE:
                rows.setdefault(column, row)
    return rows


@settings(max_examples=30)
@given(
    test=st.sampled_from([complete(), complete(LINEAR, 1e-3, 400), flat(), at_once()]),
    width=st.integers(0, 200),
    height=st.integers(0, 40),
)
def test_a_sketch_keeps_to_its_width_and_height(test, width, height):
    """For every terminal, down to the least that can be read."""
    lines = sketch(test, width, height)
    assert max(map(len, lines[:-1])) <= max(width, 30)
    assert max(height, 4) + 3 <= len(lines) <= max(height, 4) + 4
    assert all("\n" not in line and line == line.rstrip() for line in lines)


def test_the_curve_lies_level_falls_and_rises():
    """From left to right, with no column left out before it leaves the picture."""
    rows = curve(sketch(complete(), 80, 16))
    columns = sorted(rows)
    lowest = max(columns, key=lambda column: rows[column])
    assert rows[columns[0]] < 7
    assert rows[lowest] > 10
    assert columns[len(columns) // 2] < lowest
    assert rows[columns[-1]] == 0
    assert columns == list(range(columns[0], columns[-1] + 1))


def test_the_marks_stand_below_their_rates():
    """The consensus between the ends of the interval, in columns of the log axis."""
    test = complete()
    lines = sketch(test, 80, 10)
    [axis] = [line for line in lines if "└" in line]
    labels, bar = lines[lines.index(axis) + 1], lines[lines.index(axis) + 2]
    assert labels.split()[:3] == ["1e-06", "1e-05", "0.0001"]
    suggested, ticks = suggestions(test), [i for i, character in enumerate(axis) if character == "┬"]
    decade = (ticks[5] - ticks[0]) / 5

    def rate(column):
        return 1e-6 * 10 ** ((column - ticks[0]) / decade)

    assert rate(bar.index("▲")) == pytest.approx(suggested.lr, rel=0.2)
    assert rate(bar.index("├")) == pytest.approx(suggested.interval.low, rel=0.2)
    assert rate(bar.index("┤")) == pytest.approx(suggested.interval.high, rel=0.2)


@pytest.mark.parametrize("test", [flat(), at_once()])
def test_a_test_without_suggestions_has_no_marks(test):
    """And says so."""
    lines = sketch(test)
    assert lines[-1].strip() == "no suggestion"
    assert "▲" not in "".join(lines)


def test_an_axis_without_powers_of_ten_has_its_ends():
    """As a zoomed test may have."""
    growth = Growth(EXPONENTIAL, 2e-3, 9e-3, 50)
    test = RangeTest("zoomed", growth, (lane_curve(0, 1.0, [1.0] * 50),))
    labels = sketch(test)[-2]
    assert labels.split() == ["0.002", f"{growth.lrs()[-1]:.3g}"]
