"""Small pieces of HTML, their texts escaped."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from lrsearch.review.report.figure import Absent, Figure
from lrsearch.review.report.plotly_drawing import legend_entries, plotly_figure


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph, with a class if there is one."""
    return f"<p{_class(kind)}>{escape(text)}</p>" if text else ""


def code_block(code: str, label: str) -> str:
    """Return code with a button that copies it."""
    button = f'<button type="button" class="copy" aria-label="Copy {escape(label)}">Copy</button>'
    return f'<div class="code">{button}<pre><code>{escape(code)}</code></pre></div>'


def command(line: str) -> str:
    """Return a shell command with a button that copies it."""
    return code_block(line, "the command")


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), kind: str = ""
) -> str:
    """Return a table in a frame that scrolls by itself.

    Args:
        head: words above the columns.
        rows: texts of the cells.
        numeric: columns that are aligned to the right.
        kind: class of the table, if it has one.
    """
    right = set(numeric)
    heads = "".join(
        f"<th{_class('number' if place in right else '')}>{escape(word)}</th>"
        for place, word in enumerate(head)
    )
    body = "".join(f"<tr>{_cells(row, right)}</tr>" for row in rows)
    inside = f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table{_class(kind)}>{inside}</table></div>'


def script_json(value: Any) -> str:
    """Return JSON that may stand within a script tag: nothing in it ends the tag or begins a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def figure_block(figure: Figure | Absent, *, heading: str = "h3") -> str:
    """Return a figure with its title, legend and note; or why it is absent."""
    title = f"<{heading}>{escape(figure.title)}</{heading}>"
    if isinstance(figure, Absent):
        return (
            f'<div class="absent" id="absent-{escape(figure.name)}">{title}{paragraph(figure.reason)}</div>'
        )
    data = script_json(plotly_figure(figure))
    shape = f'role="img" aria-label="{escape(figure.title)}" style="height: {figure.height}px"'
    return (
        f'<figure id="{escape(figure.name)}">{title}{_legend(figure)}<div class="plot" {shape}></div>'
        f'<script type="application/json">{data}</script>'
        f"{f'<figcaption>{escape(figure.note)}</figcaption>' if figure.note else ''}</figure>"
    )


def _legend(figure: Figure) -> str:
    entries = legend_entries(figure)
    if not entries:
        return ""
    lead = f"<span>{escape(figure.legend)}</span>" if figure.legend else ""
    buttons = "".join(
        f'<button type="button" aria-pressed="true" data-traces="{" ".join(map(str, places))}">'
        f'<i class="{symbol}" style="--color: {color}"></i>{escape(label)}</button>'
        for label, color, symbol, places in entries
    )
    return f'<div class="legend">{lead}{buttons}</div>'


def _cells(row: Sequence[str], right: set[int]) -> str:
    return "".join(
        f"<td{_class('number' if place in right else '')}>{escape(cell)}</td>"
        for place, cell in enumerate(row)
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
