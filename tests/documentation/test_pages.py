"""Every page is true to the letter: its blocks run, in its order, as a reader would run them."""

import sys
from pathlib import Path

import pytest

from tests.documentation import deviations
from tests.documentation.execution import PageRun
from tests.documentation.pages import PAGES, ROOT, RUN, SHOWN, blocks_of, name_of
from tests.documentation.promises import PROMISES, Ran

NAMES = {name_of(page) for page in PAGES}


def with_runnable_blocks():
    """Return the pages that have any, each marked slow if the table says so."""
    pages = [page for page in PAGES if any(block.language in RUN for block in blocks_of(page))]
    marks = {name: [pytest.mark.slow] for name in deviations.SLOW}
    return [pytest.param(page, id=name_of(page), marks=marks.get(name_of(page), [])) for page in pages]


@pytest.fixture
def modules_of_pages(tmp_path):
    """Forget the modules that a page's Python imported from its own folder."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if tmp_path in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
            del sys.modules[name]


@pytest.mark.usefixtures("modules_of_pages")
@pytest.mark.parametrize("page", with_runnable_blocks())
def test_every_block_of_a_page_runs(page, request, monkeypatch, tmp_path, capsys):
    """In the page's order, in one folder, on one database; what the page says of its output holds."""
    fixtures = {"mnist": "mnist_dir", "postgresql": "created_postgresql_url"}
    ours = [entry.instead for entry in deviations.REPLACED if entry.page == name_of(page)]
    places = {
        place: str(request.getfixturevalue(fixture))
        for place, fixture in fixtures.items()
        if any(f"{{{place}}}" in instead for instead in ours)
    }
    run = PageRun(page, tmp_path, monkeypatch, places)
    run.prepare()
    run.run()
    if name_of(page) in PROMISES:
        text = page.read_text(encoding="utf-8")
        PROMISES[name_of(page)](Ran(text, tmp_path, capsys.readouterr().out, run.namespace))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page):
    """It is run, or shown as output, or run by another test that the table names."""
    for block in blocks_of(page):
        known = block.language in (*RUN, *SHOWN) or block.language.startswith("{")  # a directive of the site
        assert known or f"{name_of(page)} {block.language}" in deviations.RUN_ELSEWHERE, block


def test_every_deviation_still_deviates_from_something():
    """An entry without its page, or whose piece is on no page any more, is to be deleted."""
    for entry in deviations.REPLACED:
        assert any(entry.text in block.text for block in blocks_of(ROOT / entry.page)), entry
    commands = [each for page in PAGES for block in blocks_of(page) for each in block.commands]
    for program in (*deviations.NOT_RUN, *deviations.ENDLESS):
        assert any(command.startswith(program) for command in commands), program
    for piece in deviations.OWN_PROCESS:
        assert any(piece in command for command in commands), piece
    named = {each.partition(" ")[0] for each in deviations.RUN_ELSEWHERE}
    assert {*deviations.SLOW, *deviations.SUPPOSED, *PROMISES, *named} <= NAMES
