"""Writes figures into files."""

from collections.abc import Sequence
from pathlib import Path

from lrsearch.errors import InputError
from lrsearch.review.output import PAGE, write_text, writing
from lrsearch.review.report.figure import Absent, Figure
from lrsearch.review.report.matplotlib_drawing import write_image
from lrsearch.review.report.page import figures_page


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
        write_text(path, figures_page(title, drawn))
        return
    with writing(path):
        write_image(drawn, path)
