"""The page of schedules says what the code does, and its pictures are what its command draws."""

import re
import runpy

import pytest

from lrsearch.parameters import Range
from lrsearch.schedules import DEFAULT_KINDS, KINDS
from lrsearch.spec.resolution import DEFAULT_WARMUP
from tests.documentation.pages import ROOT

PAGE = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
PICTURES = ROOT / "docs" / "schedules"
DRAWING = runpy.run_path(str(ROOT / "docs" / "draw_schedules.py"))
NUMBER = r"-?\d+(?:\.\d+)?"


def section(name):
    """Return what the page says of a kind."""
    return re.search(rf"^## {name}(?: \*)?\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)[1]


def searched(knob):
    """Return the cell of the table that says what a search draws from."""
    if knob.up_to_epochs:
        return f"0..epochs/{knob.up_to_epochs}, whole numbers"
    return f"{knob.default:g}" if isinstance(knob.default, float) else str(knob.default)


def test_the_page_has_every_kind_and_stars_those_that_are_searched_by_default():
    """In the order of ``lrsearch schedules``."""
    heads = [head for head in re.findall(r"^## (.*)$", PAGE, re.MULTILINE) if head.split()[0] in KINDS]
    assert heads == [f"{name} *" if name in DEFAULT_KINDS else name for name in KINDS]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kinds_parameters_and_their_ranges_are_those_of_the_code(kind):
    """With what a search draws from and what a point has that names none; and when the factor changes."""
    rows = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in re.findall(r"^\| `.*$", section(kind.name), re.MULTILINE)
    ]
    usual = {
        knob.name: f"{knob.usual:g}" if not isinstance(knob.usual, str) else knob.usual for knob in kind.knobs
    }
    assert rows == [[f"`{knob.name}`", searched(knob), usual[knob.name]] for knob in kind.knobs]
    warmup = "" if kind.takes_warmup else ", without a warm-up"
    assert f"\n*Per {kind.clock}{warmup}.*\n" in section(kind.name)
    assert f"](schedules/{kind.name}.svg)" in section(kind.name)


def test_the_warmup_that_is_searched_by_default_is_the_codes():
    """As the page writes it for a study file."""
    assert isinstance(DEFAULT_WARMUP.range, Range)
    low, high = DEFAULT_WARMUP.range.low, DEFAULT_WARMUP.range.high
    assert f"warmup_fraction = {{ low = {low}, high = {high}, or_zero = true }}" in PAGE


def test_there_is_a_picture_of_each_kind_and_of_the_warmup():
    """And no other file in their folder."""
    assert {path.name for path in PICTURES.iterdir()} == {f"{name}.svg" for name in (*KINDS, "warm-up")}


@pytest.mark.parametrize("name", DRAWING["PICTURES"])
def test_a_picture_is_what_the_command_draws(name):
    """Word by word, and number by number to the last digit, in which processors may differ."""
    shown = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    drawn = DRAWING["picture"](DRAWING["PICTURES"][name])
    assert re.sub(NUMBER, "", shown) == re.sub(NUMBER, "", drawn)
    numbers = [float(number) for number in re.findall(NUMBER, drawn)]
    assert [float(number) for number in re.findall(NUMBER, shown)] == pytest.approx(numbers, abs=0.11)
