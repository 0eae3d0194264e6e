"""The benchmark of rivals: what it trains, what it writes, and that nothing is trained twice."""

import re

import pytest

from benchmarks import rivals
from benchmarks.rivals import COLUMNS, Case, main

DIGITS = Case("digits", "digits-mlp", "--trials 6 --epochs 3 --workers 1", top=1, seeds=4)


@pytest.fixture
def page(monkeypatch, tmp_path, capfd):
    """A function that runs the benchmark on the digits with few seeds, and returns its page."""
    monkeypatch.setattr(rivals, "CASES", (DIGITS,))

    def run(*arguments):
        target = tmp_path / "page.md"
        main(["--storage", f"sqlite:///{tmp_path / 'rivals.db'}", "--markdown", str(target), *arguments])
        return target.read_text(), capfd.readouterr()

    return run


@pytest.mark.slow
def test_a_case_is_searched_confirmed_and_written(page):
    """A row of the table, and a section with the commands, the verdict and every candidate; again at once."""
    written, printed = page()
    assert f"| task | seeds that report | {' | '.join(COLUMNS)} |" in written
    [row] = re.findall(r"^\| digits \|(.*)\|$", written, re.MULTILINE)
    cells = [cell.strip() for cell in row.split("|")]
    assert len(cells) == 6
    assert cells[0] == "2"
    assert "-" not in cells
    assert sum(cell.startswith("**") for cell in cells) == 1
    assert "    lrsearch confirm digits --rivals --seeds 4 --top 1\n" in written
    assert re.search(r"^- Schedule-free AdamW at a tuned \S+: AdamWScheduleFree, lr ", written, re.MULTILINE)
    assert "needs no schedule" in written or "need no schedule" in written
    assert "Study digits: 6 of 6 trials have ended" in printed.out
    again, _printed = page("--page-only")
    assert again == written


def test_the_page_has_every_case():
    """The figures that are published are those of the cases as they are now."""
    published = (rivals.DOCS / "rivals-benchmark.md").read_text()
    for case in rivals.CASES:
        assert f"\n| {case.name} |" in published
        assert all(f"\n    {command}\n" in published for command in case.commands)


def test_the_table_of_the_readme_is_the_pages():
    """Figure by figure."""
    tables = [
        re.search(r"^\| task \|(?:.*\n)+?\n", path.read_text(), re.MULTILINE)[0]
        for path in (rivals.DOCS / "rivals-benchmark.md", rivals.DOCS.parent / "README.md")
    ]
    assert tables[0] == tables[1]
    assert tables[0].count("\n| ") == len(rivals.CASES) + 1


def test_the_verdict_of_the_first_pages_is_that_of_the_benchmark():
    """Word by word, in the README and the tutorial; the site's first page has its beginning."""
    page = " ".join((rivals.DOCS / "rivals-benchmark.md").read_text().split())
    for path in (rivals.DOCS.parent / "README.md", rivals.DOCS / "tutorial.md", rivals.DOCS / "index.md"):
        [said] = re.findall(
            r"^(Use trial \d+ .*?)(?: \.\.\.\n|\n\n|\n```)", path.read_text(), re.MULTILINE | re.DOTALL
        )
        assert " ".join(said.split()) in page, path
