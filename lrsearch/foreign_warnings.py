"""Keeps what libraries say to the programmers who use them from the users of lrsearch.

That a function will be removed, or is an experiment, matters to whoever wrote the call: with a library's call
from another library, or from lrsearch, a user can do nothing. What their own code causes they see.
"""

import re
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TextIO

_FOR_PROGRAMMERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
# Optuna's ExperimentalWarning, among others, and that tqdm would draw nicer bars with a library of widgets;
# by their modules' names, as importing them takes a while.
_OF_LIBRARIES = ("optuna.", "tqdm.")
_SAYS_SO = re.compile(r"\bdeprecated\b", re.IGNORECASE)  # PyTorch does in a UserWarning


@contextmanager
def foreign_warnings_hidden() -> Iterator[None]:
    """Show no warning that tells the callers of a library of a change, where the user is not the caller."""
    show = warnings.showwarning

    def show_the_users_own(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not (is_for_programmers(category, str(message)) and is_foreign(filename)):
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_the_users_own
    try:
        yield
    finally:
        warnings.showwarning = show


def is_for_programmers(category: type[Warning], message: str) -> bool:
    """Return whether a warning tells of a change in a library that its callers should follow."""
    by_category = issubclass(category, _FOR_PROGRAMMERS) or category.__module__.startswith(_OF_LIBRARIES)
    return by_category or bool(_SAYS_SO.search(message))


def is_foreign(filename: str) -> bool:
    """Return whether a file belongs to an installed library, to Python, or to lrsearch: not to the user."""
    if filename == "sys":  # what Python writes where a warning has no place
        return True
    return filename.startswith("<frozen ") or any(map(Path(filename).is_relative_to, _foreign_folders()))


@cache
def _foreign_folders() -> frozenset[Path]:
    places = ("stdlib", "platstdlib", "purelib", "platlib")
    return frozenset({Path(sysconfig.get_path(name)) for name in places} | {Path(__file__).parent})
