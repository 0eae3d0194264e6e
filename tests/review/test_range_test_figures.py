"""The picture of a range test: what it shows, and that page and image show the same."""

import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from lrsearch.errors import InputError
from lrsearch.lr_range import EXPONENTIAL, LINEAR, Growth, RangeTest, find_zones, lane_curve, suggestions
from lrsearch.review.range_test_figures import page, write_figure
from lrsearch.review.range_test_panels import MOST_POINTS, range_test_picture
from lrsearch.review.range_test_wording import short
from tests.review.range_tests import at_once, complete, flat

TESTS = {"complete": complete(), "linear": complete(LINEAR, 1e-3, 400), "flat": flat(), "at once": at_once()}


def marks(panel):
    """Return a panel's marks by label."""
    return {mark.label: mark for mark in panel.marks}


def test_the_first_panel_shows_seeds_median_zones_and_suggestions():
    """Each suggestion is labelled with its rate, and lies on the median curve."""
    test = complete()
    panel, suggested, zones = range_test_picture(test).panels[0], suggestions(test), find_zones(test)
    assert [len(line.x) for line in panel.lines[:-1]] == [len(lane.losses) for lane in test.lanes]
    assert panel.log_x
    assert [(band.label, band.low, band.high) for band in panel.bands] == [
        ("too low", zones.too_low.low, zones.too_low.high),
        ("falling", zones.falling.low, zones.falling.high),
        ("rising", zones.rising.low, zones.rising.high),
    ]
    found = marks(panel)
    for rule in suggested.rules:
        assert found[f"{rule.rule}: {short(rule.lr)}"].x == rule.lr
    assert found[f"consensus: {short(suggested.lr)}"].symbol == "line"
    assert all(panel.y_range[0] < mark.y < panel.y_range[1] for mark in panel.marks)


def test_the_panels_over_steps_have_the_same_zones():
    """At the steps at which the rate reached them, from 1."""
    test = complete()
    over_lr, over_step, lrs = range_test_picture(test).panels
    assert over_step.bands == lrs.bands
    for band, other in zip(over_lr.bands, over_step.bands, strict=True):
        step = round(other.high)
        assert test.lrs()[step - 1] == pytest.approx(band.high, rel=0.15)
    assert lrs.lines[0].x == tuple(map(float, range(1, test.steps + 1)))
    assert lrs.lines[0].y == tuple(test.lrs())
    assert (lrs.log_y, range_test_picture(complete(LINEAR, 1e-3)).panels[2].log_y) == (True, False)


def test_an_explosion_does_not_flatten_the_picture():
    """A loss of a million is cut off; the fall fills most of the height."""
    test = complete()
    lanes = tuple(lane_curve(lane.seed, 2.3, [*lane.losses, 1e6]) for lane in test.lanes)
    exploded = RangeTest(test.task, Growth(EXPONENTIAL, 1e-6, 10.0, 200), lanes)
    low, high = range_test_picture(exploded).panels[0].y_range
    assert high - low < 4


def test_long_tests_are_thinned():
    """A page with all of 17,000 points of each seed would be slow to draw."""
    growth = Growth(EXPONENTIAL, 1e-6, 10.0, 17_000)
    test = RangeTest("long", growth, (lane_curve(0, 1.0, [1.0] * 17_000),))
    for panel in range_test_picture(test).panels:
        assert all(len(line.x) <= MOST_POINTS for line in panel.lines)


def test_a_test_that_suggests_nothing_says_why_in_its_subtitle():
    """There are no marks to be taken for suggestions."""
    picture = range_test_picture(flat())
    assert picture.subtitle.endswith("The loss never falls.")
    assert all(panel.marks == () for panel in picture.panels)


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("ending", ["html", "png", "svg", "PNG"])
def test_every_test_can_be_drawn_into_every_kind_of_file(name, ending, tmp_path):
    """Also one without zones."""
    path = tmp_path / f"test.{ending}"
    write_figure(TESTS[name], path)
    begins = {"html": b"<!DOCTYPE html>", "png": b"\x89PNG", "svg": b"<?xml"}[ending.lower()]
    assert path.read_bytes().startswith(begins)


def test_a_page_needs_nothing_beside_it():
    """No script or style is fetched from elsewhere, and names are escaped."""
    text = page(range_test_picture(flat()))
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text)
    assert "<h1>Learning-rate range test of flat &lt;task&gt;</h1>" in text
    assert "color-scheme: light dark" in text


def test_page_and_image_show_the_same(tmp_path):
    """Labels of suggestions, zones and axes stand in both; the page has every line's points."""
    picture = range_test_picture(complete())
    data, layout = drawn(page(picture))
    write_figure(complete(), tmp_path / "test.svg")
    svg = ElementTree.parse(tmp_path / "test.svg").getroot()
    words = {"".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text")}
    first = picture.panels[0]
    named = {label.label for label in (*first.lines, *first.marks)} - {""}
    assert named <= {trace["name"] for trace in data if trace["showlegend"]} & words
    assert {band.label for band in first.bands} == {note["text"] for note in layout["annotations"]}
    assert {band.label for band in first.bands} < words
    axes = [axis["title"]["text"] for name, axis in layout.items() if "axis" in name]
    assert sorted(axes) == sorted(text for panel in picture.panels for text in (panel.x_label, panel.y_label))
    assert {*axes, picture.title, picture.subtitle} < words
    assert data[0]["x"] == list(first.lines[0].x)
    assert len(layout["shapes"]) == sum(len(panel.bands) for panel in picture.panels)


def drawn(text):
    """Return the data and the layout that a page hands to plotly."""
    begin = text.index("[", text.index("Plotly.newPlot("))
    data, end = json.JSONDecoder().raw_decode(text, begin)
    layout, _ = json.JSONDecoder().raw_decode(text, text.index("{", end))
    return data, layout


def test_an_image_is_the_same_every_time(tmp_path):
    """No date, no random ids: a picture under version control changes when its numbers do."""
    for name in ("a.svg", "b.svg"):
        write_figure(complete(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("name", ["plot.pdf", "plot", "html"])
def test_other_endings_are_refused(name, tmp_path):
    """With those that exist, in words that fit the command line and Python."""
    with pytest.raises(
        InputError, match=rf"^figures are written as \.html, \.png and \.svg, but got '{name}'"
    ):
        write_figure(complete(), tmp_path / name)


@pytest.mark.parametrize("ending", ["html", "png"])
def test_a_file_that_cannot_be_written_is_refused(ending, tmp_path):
    """Its folder does not exist, or it is a folder itself."""
    with pytest.raises(InputError, match=r"a folder that exists, but there is no .*missing"):
        write_figure(complete(), tmp_path / "missing" / f"plot.{ending}")
    (tmp_path / f"folder.{ending}").mkdir()
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        write_figure(complete(), tmp_path / f"folder.{ending}")


def test_neither_library_is_loaded_before_it_draws():
    """Whoever does not plot does not wait for them; nor does a plot for torch."""
    code = (
        "import sys, lrsearch.review.range_test_figures, lrsearch.review.range_test_sketch;"
        "print([name for name in ('plotly', 'matplotlib', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
