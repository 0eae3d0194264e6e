"""A colon between a parameter and its meaning, where Sphinx puts two hyphens for a dash."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def setup(app: Sphinx) -> ExtensionMetadata:
    """Go through each page that was read."""
    app.connect("doctree-read", put_colons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def put_colons(_app: Sphinx, page: nodes.document) -> None:
    """Replace the separators of field lists."""
    for text in list(page.findall(nodes.Text)):
        if text.astext() == " -- ":
            text.parent.replace(text, nodes.Text(": "))
