"""Figures as matplotlib draws them into an image."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from lrsearch.review.report.figure import Area, Axis, Band, Bars, Figure, Label, Line, Mark, Points, Rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Image

SYMBOLS = {"circle": "o", "hollow": "o", "cross": "x", "star": "*"}
WIDTH_IN, PIXELS_PER_IN = 10.0, 96.0
MOST_ENTRIES = 20
NOTE_WIDTH = 100  # letters of a line
WORD = 9.0


def write_image(figures: Sequence[Figure], path: Path) -> None:
    """Draw figures into a PNG or SVG file, one below the other.

    Args:
        figures: at least one.
        path: ends in ``.png`` or ``.svg``.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib import rc_context

    # Text as text and ids that do not change: so that an SVG can be searched, and compared with the last one.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lrsearch", "font.size": 10}):
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
        _image(figures).savefig(path, dpi=150, metadata=metadata)


def _image(figures: Sequence[Figure]) -> "Image":
    from matplotlib.figure import Figure as Image

    heights = [figure.height / PIXELS_PER_IN + 0.7 for figure in figures]
    image = Image(figsize=(WIDTH_IN, sum(heights)), layout="constrained")
    grid = image.add_gridspec(len(figures), 1, height_ratios=heights)
    for place, figure in enumerate(figures):
        _draw(image.add_subplot(grid[place, 0]), figure)
    return image


def _draw(axes: "Axes", figure: Figure) -> None:
    axes.set_title(_plain(figure.title), loc="left", fontsize=13, pad=20 if figure.rules else 8)
    _set_axis(axes, figure.x, upright=False)
    _set_axis(axes, figure.y, upright=True)
    if figure.note:
        axes.set_xlabel(_plain(f"{figure.x.label}\n{fill(figure.note, NOTE_WIDTH)}".strip()))
    axes.spines[["top", "right"]].set_visible(False)
    for band in figure.bands:
        _draw_band(axes, band)
    for rule in figure.rules:
        _draw_rule(axes, rule)
    for mark in figure.marks:
        _draw_mark(axes, mark)
    for label in figure.labels:
        _draw_label(axes, label)
    _add_legend(axes, figure)


def _set_axis(axes: "Axes", axis: Axis, *, upright: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    own = axes.yaxis if upright else axes.xaxis
    (axes.set_yscale if upright else axes.set_xscale)("log" if axis.log else "linear")
    (axes.set_ylabel if upright else axes.set_xlabel)(_plain(axis.label))
    if axis.span is not None:
        (axes.set_ylim if upright else axes.set_xlim)(*axis.span)
    if axis.names:
        own.set_ticks(range(len(axis.names)), labels=[_plain(name) for name in axis.names])
    elif axis.ticks:
        own.grid(visible=True, color="#d8d8d8", linewidth=0.6)
        axes.set_axisbelow(True)
    else:
        own.set_visible(False)
        axes.spines[["left" if upright else "bottom"]].set_visible(False)
    if axis.log:
        own.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
        own.set_minor_formatter(FuncFormatter(_minor(axis)))


def _minor(axis: Axis):  # type: ignore[no-untyped-def]  # a formatter of matplotlib
    low, high = axis.span or (1.0, 1e6)

    def text(value: float, _place: int) -> str:
        leading = f"{value:e}"[0]
        return f"{value:g}" if high / low < 100 and leading in "25" else ""

    return text


def _draw_mark(axes: "Axes", mark: Mark) -> None:
    label = _plain(mark.label) or None
    if isinstance(mark, Line):
        _draw_line(axes, mark, label)
    elif isinstance(mark, Points):
        _draw_points(axes, mark, label)
    elif isinstance(mark, Bars):
        _draw_bars(axes, mark, label)
    elif isinstance(mark, Area):
        axes.fill_between(mark.x, mark.low, mark.high, color=mark.color, alpha=0.18, lw=0, step="post")


def _draw_line(axes: "Axes", line: Line, label: str | None) -> None:
    axes.plot(
        line.x,
        line.y,
        color=line.color,
        label=label,
        lw=line.width,
        alpha=line.opacity,
        drawstyle="steps-post" if line.steps else "default",
    )


def _draw_points(axes: "Axes", points: Points, label: str | None) -> None:
    axes.plot(
        points.x,
        points.y,
        SYMBOLS[points.symbol],
        color=points.color,
        label=label,
        ms=points.size * 0.75,
        mfc="none" if points.symbol == "hollow" else points.color,
        alpha=points.opacity,
        zorder=4,
    )


def _draw_bars(axes: "Axes", bars: Bars, label: str | None) -> None:
    if bars.upright:
        axes.bar(bars.places, bars.lengths, bars.thickness, bars.starts, color=bars.color, label=label)
    else:
        axes.barh(bars.places, bars.lengths, bars.thickness, bars.starts, color=bars.color, label=label)


def _draw_band(axes: "Axes", band: Band) -> None:
    axes.axvspan(band.low, band.high, color=band.color, alpha=0.13, lw=0)
    _write_beside(axes, band.label, (band.low, 0), ("data", "axes fraction"), (4, 4), "left", "#404040")


def _draw_rule(axes: "Axes", rule: Rule) -> None:
    if not rule.upright:
        axes.axhline(rule.at, color=rule.color, lw=1.2, ls=":")
        _write_beside(axes, rule.label, (1, rule.at), ("axes fraction", "data"), (0, 3), "right", rule.color)
        return
    axes.axvline(rule.at, color=rule.color, lw=1.2, ls=":")
    low, high = (axes.transData.transform((end, axes.get_ylim()[0]))[0] for end in axes.get_xlim())
    at = axes.transData.transform((rule.at, axes.get_ylim()[0]))[0]
    side = "left" if at < (low + high) / 2 else "right"
    _write_beside(axes, rule.label, (rule.at, 1), ("data", "axes fraction"), (0, 3), side, rule.color)


def _draw_label(axes: "Axes", label: Label) -> None:
    side = "bottom" if label.above else "top"
    axes.text(label.x, label.y, _plain(label.text), ha="center", va=side, fontsize=WORD)


def _write_beside(
    axes: "Axes",
    text: str,
    place: tuple[float, float],
    units: tuple[str, str],
    offset: tuple[float, float],
    side: str,
    color: str,
) -> None:
    axes.annotate(
        _plain(text),
        place,
        xycoords=units,
        xytext=offset,
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=WORD,
        color=color,
        annotation_clip=False,
    )


def _add_legend(axes: "Axes", figure: Figure) -> None:
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))  # of equal labels the foremost
    shown = list(dict.fromkeys(labels))[:MOST_ENTRIES]
    if shown:
        title = _plain(figure.legend) or None
        legend = axes.legend(
            [entries[label] for label in shown],
            shown,
            title=title,
            loc="upper left",
            bbox_to_anchor=(1.01, 1),
            fontsize=WORD,
            title_fontsize=WORD,
            frameon=False,
        )
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)


def _plain(text: str) -> str:
    """Return a text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")
