"""The report in a real browser: it opens, draws all figures, sorts, filters, copies, and fits a phone."""

import json
import math
import re
from dataclasses import replace
from html import escape
from itertools import pairwise

import pytest
import torch

from lrsearch.review.range_test_figures import write_figure
from lrsearch.review.report.catalogue import FIGURES
from lrsearch.review.report.comparison_page import comparison_page
from lrsearch.review.report.figure import Area, Bars, Figure
from lrsearch.review.report.page import report_page
from lrsearch.review.report.trials import ShownStudy
from tests.fixtures.browser import PHONE
from tests.review.range_tests import complete
from tests.review.report.studies import COMMANDS, audited, confirmed, study

USUAL = audited(confirmed(study()))
EVIL = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"

# Points and bars that lie on the page, of the traces that are shown, and the title above each figure.
DRAWN = """
return Object.fromEntries([...document.querySelectorAll(".plot[data-drawn]")].map((plot) => {
  const figure = plot.closest("figure");
  const count = (selector) => plot.querySelectorAll(selector).length;
  return [figure.id, {
    points: count(".scatterlayer .point"),
    bars: count(".barlayer .point path"),
    lines: count(".scatterlayer .js-line"),
    width: plot.getBoundingClientRect().width,
    text: getComputedStyle(plot.querySelector("text")).fill,
  }];
}));
"""
ROWS = """
return [...document.querySelectorAll(".sortable tbody tr")].filter((row) => !row.hidden)
  .map((row) => [...row.cells].map((cell) => cell.textContent));
"""
CLICK = "document.querySelectorAll(arguments[0])[arguments[1]].click()"


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that writes the page of a study, opens it, and gives back the browser."""

    def open_page(facts, **how):
        page = tmp_path / "report.html"
        page.write_text(report_page(facts, COMMANDS), encoding="utf-8")
        browser.errors()
        browser.open(page, **how)
        return browser

    return open_page


@pytest.fixture(scope="module")
def page_of_usual(tmp_path_factory):
    """The page of a confirmed and audited study."""
    page = tmp_path_factory.mktemp("usual") / "report.html"
    page.write_text(report_page(USUAL, COMMANDS), encoding="utf-8")
    return page


@pytest.fixture
def usual(browser, page_of_usual):
    """The browser on that page; it is opened once for all tests that leave it as it was."""
    browser.errors()
    if browser.driver.current_url != page_of_usual.as_uri():
        browser.open(page_of_usual)
    return browser


def described(facts):
    """Return all figures of a study that can be drawn, by name."""
    found = [figure for draw in FIGURES.values() for figure in draw(ShownStudy(facts))]
    return {figure.name: figure for figure in found if isinstance(figure, Figure)}


def expected(figure):
    """Return how many points, bars and lines a figure has."""
    counts = {"points": 0, "bars": 0, "lines": 0}
    for mark in figure.marks:
        if isinstance(mark, Bars):
            counts["bars"] += len(mark.places)
        elif isinstance(mark, Area):
            counts["lines"] += 2
        elif hasattr(mark, "symbol"):
            counts["points"] += sum(math.isfinite(y) for y in mark.y)
        else:
            seen = [math.isfinite(y) for y in mark.y]
            counts["lines"] += sum(here and not before for before, here in pairwise([False, *seen]))
    return counts


def brightness(color):
    """Return the mean of red, green and blue of a colour such as ``rgb(0, 0, 0)``, from 0 to 255."""
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3


def test_every_figure_is_drawn_with_all_its_points(usual):
    """As many points, bars and lines as its description has; no error, and nothing is fetched."""
    usual.run("document.querySelector('details').open = true")
    usual.wait("return !document.querySelector('.plot:not([data-drawn])')", "the knobs are drawn")
    drawn, wanted = usual.run(DRAWN), described(USUAL)
    assert set(drawn) == set(wanted)
    assert "audit" in drawn
    for name, figure in wanted.items():
        found = {key: drawn[name][key] for key in ("points", "bars", "lines")}
        assert found == expected(figure), name
    assert usual.errors() == []
    assert usual.run("return performance.getEntriesByType('resource').length") == 0


def test_nothing_offers_to_send_the_data_away(usual, browser, tmp_path):
    """Plotly's bar of buttons has one that would, unless it is told not to; so has that of a range test."""
    titles = "return [...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title)"
    found = set(usual.run(titles))
    assert found == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}
    write_figure(complete(), tmp_path / "test.html")
    browser.driver.get((tmp_path / "test.html").as_uri())
    browser.wait(f"{titles}.length", "the bar is there")
    assert not any("hare" in title for title in browser.run(titles))


def test_a_click_on_the_legend_hides_what_it_names(usual):
    """And another one shows it again."""
    before = usual.run(DRAWN)["pruning"]["bars"]
    complete = sum(trial.state == "COMPLETE" for trial in USUAL.trials)
    usual.run(CLICK, "#pruning .legend button", 0)
    usual.wait(
        f"return document.querySelectorAll('#pruning .barlayer .point path').length === {before - complete}",
        "the bars of complete trials are gone",
    )
    usual.run(CLICK, "#pruning .legend button", 0)
    usual.wait(
        f"return document.querySelectorAll('#pruning .barlayer .point path').length === {before}",
        "they are there again",
    )


def test_the_table_is_sorted_by_a_click_on_its_head(usual):
    """By number, both ways; rows without a number stay at the end."""
    losses = sorted(ShownStudy(USUAL).trials, key=lambda trial: (math.isnan(trial.loss), trial.loss))
    by_loss = [trial.number for trial in losses if not math.isnan(trial.loss)]
    for order in (by_loss, by_loss[::-1]):
        usual.run(CLICK, ".sortable th button", 2)
        rows = usual.run(ROWS)
        assert [int(row[0]) for row in rows[: len(by_loss)]] == order
        assert {row[2] for row in rows[len(by_loss) :]} == {"diverged"}
    usual.run(CLICK, ".sortable th button", 0)
    assert [int(row[0]) for row in usual.run(ROWS)] == [trial.number for trial in USUAL.trials]


def test_the_table_is_filtered_by_words_and_by_end(usual):
    """Both at once; the number of rows that are left is said."""
    usual.run(
        "const box = document.querySelector('.filter input'); box.value = 'wsd'; "
        "box.dispatchEvent(new Event('input'))"
    )
    trials = [trial for trial in ShownStudy(USUAL).trials if trial.points[None].kind == "WSD"]
    assert {int(row[0]) for row in usual.run(ROWS)} == {trial.number for trial in trials}
    usual.run(
        "const choice = document.querySelector('.filter select'); choice.value = 'stopped'; "
        "choice.dispatchEvent(new Event('change'))"
    )
    stopped = {trial.number for trial in trials if trial.outcome == "stopped"}
    assert {int(row[0]) for row in usual.run(ROWS)} == stopped
    said = usual.run("return document.querySelector('.filter output').textContent")
    assert said == f"{len(stopped)} trial" + ("" if len(stopped) == 1 else "s")
    usual.run(
        "for (const [name, event] of [['input', 'input'], ['select', 'change']]) {"
        "  const field = document.querySelector(`.filter ${name}`); field.value = '';"
        "  field.dispatchEvent(new Event(event)); }"
    )
    assert len(usual.run(ROWS)) == len(USUAL.trials)


@pytest.mark.parametrize("facts", [USUAL, study()], ids=["confirmed", "not confirmed"])
def test_the_copied_code_runs(opened, facts):
    """It builds the winner's optimizer and scheduler for a model that is called ``model``."""
    browser = opened(facts)
    browser.allow_clipboard()
    browser.run("document.querySelector('[aria-label=\"Copy the lines of PyTorch\"]').click()")
    browser.wait(
        "return document.querySelector('.copy[aria-label*=PyTorch]').textContent === 'Copied'", "it is copied"
    )
    code = browser.clipboard()
    namespace = {"model": torch.nn.Linear(2, 2)}
    exec(code, namespace)
    best = ShownStudy(facts).best
    assert namespace["optimizer"].defaults["momentum"] == best.points[None].optimizer["momentum"]
    assert isinstance(namespace["scheduler"], torch.optim.lr_scheduler.LRScheduler)


@pytest.mark.parametrize("facts", [USUAL, study(), study(trials=0)], ids=["usual", "not confirmed", "empty"])
def test_a_phone_scrolls_in_one_direction(opened, facts):
    """The page is as wide as its window, and so are its figures; wide tables scroll by themselves."""
    browser = opened(facts, size=PHONE)
    assert browser.run("return document.documentElement.scrollWidth") == PHONE[0]
    assert all(0 < figure["width"] <= PHONE[0] for figure in browser.run(DRAWN).values())
    assert browser.errors() == []


def test_texts_are_light_on_dark_and_dark_on_light(usual):
    """Those of the page and of the figures; a page that is open at dusk follows."""
    light = usual.run("return getComputedStyle(document.body).color")
    assert {figure["text"] for figure in usual.run(DRAWN).values()} == {light}
    usual.prefer(dark=True)
    usual.wait(f"return getComputedStyle(document.body).color !== {json.dumps(light)}", "the page is dark")
    dark = usual.run("return getComputedStyle(document.body).color")
    usual.wait(
        "return [...document.querySelectorAll('.plot[data-drawn]')].every("
        f"(plot) => getComputedStyle(plot.querySelector('text')).fill === {json.dumps(dark)})",
        "all figures have the colours of the page",
    )
    assert brightness(light) < 100 < 156 < brightness(dark)
    assert usual.errors() == []
    usual.prefer(dark=False)


def test_a_name_is_never_taken_for_html(opened, browser, tmp_path):
    """Neither on the page nor in a figure: it is shown as it is."""
    facts = replace(USUAL, spec=USUAL.spec.model_copy(update={"name": EVIL}))
    shown = opened(facts).run("return [document.title, document.querySelector('h1').textContent]")
    assert shown == [f"lrsearch: {EVIL}", EVIL]
    other = replace(study(seed=1), spec=study(seed=1).spec.model_copy(update={"name": EVIL, "task": EVIL}))
    page = tmp_path / "compared.html"
    page.write_text(comparison_page([facts, other]), encoding="utf-8")
    browser.open(page)
    assert escape(EVIL) in page.read_text()
    assert EVIL not in page.read_text()
    assert "owned" not in browser.run("return document.title")
    assert browser.errors() == []


ENDINGS = {
    "no trial": study(trials=0),
    "none ended": study(trials=2, ends=("running",)),
    "one trial": study(trials=1),
    "none stopped": study(ends=("complete",), pruner="none"),
    "one kind": study(space={"kinds": ["StepLR"]}),
    "nothing searched": study(
        space={"kinds": ["constant"], "lr": 0.1, "warmup_fraction": 0.0}, optimizer={"name": "SGD"}
    ),
    "all diverged": study(ends=("diverged",)),
    "all failed": study(ends=("failed",)),
    "all stopped": study(ends=("stopped",)),
    "a script trains it": study(task="external", steps=None),
    "parts": study(task="external", steps=None, parts=["generator", "discriminator"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("facts", ENDINGS.values(), ids=ENDINGS)
def test_every_study_has_a_page(opened, facts):
    """Whatever is missing: what can be drawn is drawn, and what cannot says why."""
    browser = opened(facts)
    assert set(browser.run(DRAWN)) == {name for name in described(facts) if not name.startswith("knobs")}
    missing = browser.run(
        "return [...document.querySelectorAll('.absent p')].map((each) => each.textContent)"
    )
    absent = [
        figure
        for kind, draw in FIGURES.items()
        for figure in draw(ShownStudy(facts))
        if not isinstance(figure, Figure) and kind != "knobs"
    ]
    assert missing == [figure.reason for figure in absent]
    assert browser.errors() == []
