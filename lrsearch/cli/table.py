"""Prints tables: wrapped to a terminal, in whole lines elsewhere."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

WHOLE_LINES = 10_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below bold headings.

    Args:
        columns: the headings.
        rows: as many values each; they are printed as they are, without markup.
    """
    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = WHOLE_LINES
    console.print(table)
