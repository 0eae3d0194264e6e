"""Files that a user asked for: refused in one line where they cannot be written."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrsearch.errors import InputError

PAGE, IMAGES = ".html", (".png", ".svg")
_HEAD_BYTES = 400
# How modules, study files, values and pages begin that lrsearch has written, and may write anew.
_OURS = re.compile(
    r'"""An optimizer and its [\w -]+, as lrsearch found|# Study |\{\s*"study": |(?s:.*)<title>lrsearch'
)


def check_output(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed for it.

    Raises:
        InputError: if it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise InputError(f"an output is a file, but {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"an output needs a folder that exists, but there is no {path.parent}")


def check_text_output(path: Path) -> None:
    """Refuse a file that cannot be written, and one that somebody else has.

    Raises:
        InputError: with what helps.
    """
    check_output(path)
    if path.is_file():
        with writing(path), path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode(errors="replace")
        if head and not _OURS.match(head):
            raise InputError(
                f"an output takes the place of what lrsearch wrote before, but {path} is something else and "
                "is kept; name another file"
            )


def check_figure_output(path: Path) -> None:
    """Refuse a file of another ending than those that figures have, or one that cannot be written.

    Raises:
        InputError: with the rule.
    """
    if path.suffix.lower() not in (PAGE, *IMAGES):
        raise InputError(
            f"figures are written as .html, .png and .svg, but got {path.name!r}; choose one of these"
        )
    check_output(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell in one line why a file cannot be written inside.

    Raises:
        InputError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; name another file") from None


def write_text(path: Path, text: str) -> None:
    """Write a text to a file.

    Raises:
        InputError: if it cannot be written.
    """
    with writing(path):
        path.write_text(text, encoding="utf-8")
