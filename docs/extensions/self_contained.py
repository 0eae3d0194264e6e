"""Warns of a page that loads anything from elsewhere: the site must be readable without a network."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

LOADED = re.compile(
    r"<(?:script|img|iframe|source|embed|object)\b[^>]*\b(?:src|data)=\"((?:https?:)?//[^\"]+)\""
    r"|<link\b[^>]*\brel=\"(?:stylesheet|preload|icon)\"[^>]*\bhref=\"((?:https?:)?//[^\"]+)\""
)

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Look at all pages once they are written."""
    app.connect("build-finished", warn_of_remote_parts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def warn_of_remote_parts(app: Sphinx, error: Exception | None) -> None:
    """Warn of each script, style or picture that a reader's browser would fetch from another host."""
    for page in sorted(Path(app.outdir).rglob("*.html")) if error is None else []:
        for found in LOADED.finditer(page.read_text(encoding="utf-8")):
            logger.warning("loads %s", found[1] or found[2], location=page.stem)
