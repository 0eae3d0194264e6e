"""How Sphinx builds the site from these pages: ``make docs``. Nothing is fetched, then or by a reader."""

import logging
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

import lrsearch  # noqa: E402

logging.getLogger("alembic").setLevel(logging.WARNING)  # furo's colours let every logger speak

project = "lrsearch"
copyright = "the authors of lrsearch, Apache-2.0"  # noqa: A001
version = release = lrsearch.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "command_reference",
    "mathml",
    "outside_pages",
    "plain_fields",
    "self_contained",
]
exclude_patterns = ["_build"]
smartquotes = False  # two hyphens are an option of a command, not a dash

# Pages are Markdown that reads well without this site, and has formulas as GitHub writes them.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3
highlight_language = "none"  # of blocks that say none: what a command prints
html_math_renderer = "mathml"

# Pages of the site whose text lies outside of this folder; each has a file here with a link to it.
outside_pages = {
    "changes": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "deployment": "deploy/README.md",
}

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
nitpick_ignore_regex = [
    # types of other libraries, whose documentation is not fetched
    (
        "py:.*",
        r"(torch|lightning|transformers|optuna|pandas|pd|numpy|np|collections|pathlib|os|nn)\..*|Optimizer|BaseTrial",
    ),
    # names of types that no page promises
    ("py:class", r"lrsearch\.[a-z]\w*\..*|Named|Pair|Source|tuple\[str"),
]

html_theme = "furo"
html_theme_options = {"light_css_variables": {"code-font-size": "75%"}}  # comments beside commands fit
html_title = f"lrsearch {lrsearch.__version__}"
html_static_path = ["_static"]
html_css_files = ["tables-and-formulas.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"
