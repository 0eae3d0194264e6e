"""Pages whose text lies outside of the folder of pages, such as the changelog.

``outside_pages`` in ``conf.py`` names them. In the folder lies a short page with a link, for whoever reads it
there; on the site its place is taken by the text, and links to the text lead to that page.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

RELATIVE_LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Read the texts in place of the short pages."""
    app.add_config_value("outside_pages", {}, "env", dict)
    app.connect("source-read", read_outside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace a page's text by the one outside, if it has one; links lead to pages of the site."""
    folder = Path(app.srcdir)
    outside = {folder.parent / file: name for name, file in app.config.outside_pages.items()}
    origin = folder
    if page in app.config.outside_pages:
        file = folder.parent / app.config.outside_pages[page]
        app.env.note_dependency(str(file))
        source[0], origin = file.read_text(encoding="utf-8"), file.parent

    def led_to_page(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(origin / link[1]))
        name = f"{outside[target]}.md" if target in outside else os.path.relpath(target, folder)
        return f"]({name}{link[2] or ''})"

    source[0] = RELATIVE_LINK.sub(led_to_page, source[0])
