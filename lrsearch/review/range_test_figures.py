"""Draws a range test's picture: as a page by plotly, as an image by matplotlib."""

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.lr_range import RangeTest
from lrsearch.review.output import PAGE, check_figure_output, write_text, writing
from lrsearch.review.range_test_panels import (
    CURVE_COLOR,
    Band,
    Line,
    Mark,
    Panel,
    Picture,
    range_test_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND_OPACITY = 0.13
GREY = "rgba(128, 128, 128, 0.28)"
# By default plotly offers to send the data to its makers.
CONFIG = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""}
PLACES = ((1, 1), (2, 1), (2, 2))  # row and column of each panel; the first is as wide as both others

# plotly writes colours into every text; the page's own are readable in light and in dark.
STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; background: Canvas; color: CanvasText; font-family: system-ui, sans-serif; }
h1 { font-size: 1.25rem; margin: 1.2rem 1.5rem 0.2rem; }
p { margin: 0 1.5rem; opacity: 0.75; }
.main-svg text { fill: CanvasText !important; }
.hoverlayer .main-svg text, .hoverlayer text { fill: revert-layer !important; }
"""


def write_figure(test: RangeTest, path: Path) -> None:
    """Draw a range test into a file: a self-contained page, or an image.

    Args:
        test: the range test.
        path: ends in ``.html``, ``.png`` or ``.svg``; its folder exists.

    Raises:
        InputError: if the ending is another, or the file cannot be written.
    """
    check_figure_output(path)
    picture = range_test_picture(test)
    if path.suffix.lower() == PAGE:
        write_text(path, page(picture))
        return
    with writing(path):
        _write_image(picture, path)


def page(picture: Picture) -> str:
    """Return a page that needs nothing beside it, drawn by plotly."""
    figure = _plotly_figure(picture)
    diagram = figure.to_html(full_html=False, include_plotlyjs=True, div_id="range-test", config=CONFIG)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(picture.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(picture.title)}</h1>\n<p>{escape(picture.subtitle)}</p>\n{diagram}\n</body>\n</html>\n"
    )


def _plotly_figure(picture: Picture) -> Any:
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"colspan": 2}, None], [{}, {}]],
        row_heights=[0.62, 0.38],
        vertical_spacing=0.13,
    )
    for panel, (row, column) in zip(picture.panels, PLACES, strict=True):
        _add_plotly_panel(figure, panel, {"row": row, "col": column})
    figure.update_layout(
        height=820,
        margin={"l": 70, "r": 30, "t": 40, "b": 60},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        legend={"bgcolor": "rgba(0, 0, 0, 0)"},
        modebar={"bgcolor": "rgba(0, 0, 0, 0)", "color": "#8a93a0", "activecolor": CURVE_COLOR},
    )
    return figure


def _add_plotly_panel(figure: Any, panel: Panel, place: dict[str, int]) -> None:
    for line in panel.lines:
        figure.add_trace(_plotly_line(line, panel), **place)
    for mark in panel.marks:
        for trace in _plotly_mark(mark, panel):
            figure.add_trace(trace, **place)
    for band in panel.bands:
        _add_plotly_band(figure, band, panel, place)
    axis = {"gridcolor": GREY, "zeroline": False, "linecolor": GREY, "exponentformat": "power"}
    figure.update_xaxes(title_text=panel.x_label, type="log" if panel.log_x else "linear", **axis, **place)
    figure.update_yaxes(
        title_text=panel.y_label,
        type="log" if panel.log_y else "linear",
        range=_plotly_range(panel),
        **axis,
        **place,
    )


def _add_plotly_band(figure: Any, band: Band, panel: Panel, place: dict[str, int]) -> None:
    figure.add_shape(
        type="rect",
        x0=band.low,
        x1=band.high,
        y0=0,
        y1=1,
        yref="y domain",
        fillcolor=band.color,
        opacity=BAND_OPACITY,
        line_width=0,
        layer="below",
        **place,
    )
    if band.label:
        # A bit inside, as plotly hides what is the least bit outside the axis.
        inside = band.low * (band.high / band.low) ** 1e-3
        # Annotations are placed by logarithm, other than shapes.
        x = math.log10(inside) if panel.log_x else inside
        text = {"text": band.label, "showarrow": False, "xanchor": "left", "yanchor": "top"}
        figure.add_annotation(x=x, y=1, yref="y domain", **text, **place)


def _plotly_line(line: Line, panel: Panel) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": line.x,
        "y": line.y,
        "name": line.label,
        "showlegend": bool(line.label) and panel.log_x,
        "opacity": line.opacity,
        "line": {"color": line.color, "width": line.width},
        "hovertemplate": f"{panel.x_label} %{{x:.3g}}, {panel.y_label} %{{y:.4g}}<extra>{line.label}</extra>",
    }


def _plotly_mark(mark: Mark, panel: Panel) -> list[dict[str, Any]]:
    common = {"type": "scatter", "name": mark.label, "showlegend": bool(mark.label)}
    if mark.symbol == "line":
        line = {"color": mark.color, "width": 2, "dash": "dash"}
        return [{**common, "mode": "lines", "x": [mark.x] * 2, "y": list(panel.y_range), "line": line}]
    symbol = {"triangle": "triangle-up"}.get(mark.symbol, mark.symbol)
    marker = {"color": mark.color, "size": 13, "symbol": symbol, "line": {"color": "white", "width": 1.5}}
    return [{**common, "mode": "markers", "x": [mark.x], "y": [mark.y], "marker": marker}]


def _plotly_range(panel: Panel) -> list[float]:
    return [math.log10(value) if panel.log_y else value for value in panel.y_range]


def _write_image(picture: Picture, path: Path) -> None:
    from matplotlib import rc_context

    # Text as text and ids that do not change: so that an SVG can be searched, and compared with the last one.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lrsearch", "font.size": 10}):
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
        _matplotlib_figure(picture).savefig(path, dpi=150, metadata=metadata)


def _matplotlib_figure(picture: Picture) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.6), layout="constrained")
    figure.suptitle(picture.title, fontsize=14, x=0.01, ha="left")
    grid = figure.add_gridspec(2, 2, height_ratios=(0.62, 0.38))
    places = (grid[0, :], grid[1, 0], grid[1, 1])
    for panel, place in zip(picture.panels, places, strict=True):
        _draw_panel(figure.add_subplot(place), panel)
    figure.axes[0].set_title(picture.subtitle, fontsize=9, color="#606060", loc="left")
    figure.axes[0].legend(loc="best", framealpha=0.9, fontsize=9)
    return figure


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label, ylim=panel.y_range)
    axes.set_xscale("log" if panel.log_x else "linear")
    axes.set_yscale("log" if panel.log_y else "linear")
    axes.set_ylim(panel.y_range)
    axes.set_xmargin(0)
    axes.grid(visible=True, color="#d8d8d8", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for band in panel.bands:
        _draw_band(axes, band, panel.y_range[1])
    for line in panel.lines:
        label = line.label or None
        axes.plot(line.x, line.y, color=line.color, lw=line.width, alpha=line.opacity, label=label)
    for mark in panel.marks:
        _draw_mark(axes, mark)


def _draw_band(axes: "Axes", band: Band, top: float) -> None:
    axes.axvspan(band.low, band.high, color=band.color, alpha=BAND_OPACITY, lw=0)
    if band.label:
        axes.annotate(
            band.label,
            (band.low, top),
            xytext=(4, -4),
            textcoords="offset points",
            ha="left",
            va="top",
            fontsize=9,
            color="#404040",
        )


def _draw_mark(axes: "Axes", mark: Mark) -> None:
    if mark.symbol == "line":
        axes.axvline(mark.x, color=mark.color, lw=1.8, ls="--", label=mark.label or None)
        return
    shape = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^"}[mark.symbol]
    axes.plot([mark.x], [mark.y], shape, color=mark.color, ms=8, mec="white", label=mark.label, zorder=5)
