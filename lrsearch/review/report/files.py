"""Writes pages and images, and refuses in one line what cannot be written."""

from collections.abc import Sequence
from pathlib import Path

from lrsearch.errors import InputError
from lrsearch.review.report.figure import Absent, Figure
from lrsearch.review.report.matplotlib_drawing import write_image
from lrsearch.review.report.page import figures_page

PAGE, IMAGES = ".html", (".png", ".svg")


def check_folder(path: Path) -> None:
    """Refuse a file whose folder does not exist, before anything is computed.

    Raises:
        InputError: with the rule.
    """
    if not path.parent.is_dir():
        raise InputError(f"a file needs a folder that exists, but there is no {path.parent}")


def check_figure_file(path: Path) -> None:
    """Refuse a file of another ending than those that are written, or whose folder does not exist.

    Raises:
        InputError: with the rule.
    """
    if path.suffix.lower() not in (PAGE, *IMAGES):
        raise InputError(
            f"figures are written as .html, .png and .svg, but got {path.name!r}; choose one of these"
        )
    check_folder(path)


def write_page(content: str, path: Path) -> None:
    """Write a page.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from None


def write_figures(title: str, figures: Sequence[Figure | Absent], path: Path) -> None:
    """Write figures: a self-contained page, or an image.

    Args:
        title: above a page.
        figures: at least one.
        path: ends in ``.html``, ``.png`` or ``.svg``; its folder exists.

    Raises:
        InputError: none of them can be drawn, or the file cannot be written.
    """
    drawn = [figure for figure in figures if isinstance(figure, Figure)]
    if not drawn:
        [first, *_] = [figure for figure in figures if isinstance(figure, Absent)]
        raise InputError(f"there is nothing to draw for {first.title!r}: {first.reason}")
    if path.suffix.lower() == PAGE:
        write_page(figures_page(title, drawn), path)
        return
    try:
        write_image(drawn, path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"a report needs a file that can be written, but {path} cannot: {error.strerror}")
