"""What the pages and shipped files name exists: links, targets of make, studies."""

import re

import pytest

from lrsearch.service.studies import resolved
from lrsearch.spec import read_spec
from tests.documentation.pages import PAGES, ROOT, blocks_of, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    """Links within the project name files that exist."""
    for target in re.findall(r"\]\(([^)#]+?)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_exists(page):
    """A page names no target that the Makefile lacks."""
    makefile = (ROOT / "Makefile").read_text()
    for command in (each for block in blocks_of(page) for each in block.commands):
        if command.startswith("make "):
            assert f"\n{command.split()[1]}:" in makefile


def test_every_shipped_study_says_what_it_is():
    """A study file begins with a comment and reads as it stands."""
    files = sorted((ROOT / "studies").glob("*.toml"))
    assert len(files) == 7
    for file in files:
        assert file.read_text().startswith("# ")
        assert resolved(read_spec(file)).name == file.stem
