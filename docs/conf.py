"""How Sphinx builds the site from these pages: ``make docs``. Nothing is fetched, then or by a reader."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

import lrsearch  # noqa: E402

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
    "self_contained",
]
exclude_patterns = ["_build"]
smartquotes = False  # two hyphens are an option of a command, not a dash

# Pages are Markdown that reads well without this site; two dollar signs enclose a formula there as here.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
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
# Types of other libraries, whose documentation is not fetched.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|optuna|pandas|pd|numpy|np|collections|pathlib|typing|nn|matplotlib)(\..*)?")
]

html_theme = "furo"
html_title = f"lrsearch {lrsearch.__version__}"
html_static_path = ["_static"]
html_css_files = ["wide-tables.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"
