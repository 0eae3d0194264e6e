"""The reference of the Python API has every promised name."""

import inspect
import re

import lrsearch
from lrsearch import errors
from tests.documentation.pages import ROOT

PAGE = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
DIRECTIVE = re.compile(r"^\.\. auto(?:function|class|decorator|exception):: (\S+)", re.MULTILINE)


def test_every_promised_name_stands_in_the_reference():
    """By its short name, or, for an error, with all others."""
    promised = {name for name in lrsearch.__all__ if not name.startswith("_") and not hasattr(errors, name)}
    assert promised <= set(DIRECTIVE.findall(PAGE))
    assert ".. automodule:: lrsearch.errors\n   :members:" in PAGE


def test_the_tree_of_errors_names_every_error():
    """Each class of the module stands in the tree that its docstring draws."""
    classes = {
        name for name, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)
    }
    drawn = set(re.findall(r"\b\w+Error\b", errors.__doc__)) - {"ValueError"}
    assert drawn == classes
