"""Figures as plotly draws them on a page, as plain values for JSON; the colours of text are the page's."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from lrsearch.review.report.figure import (
    Area,
    Axis,
    Band,
    Bars,
    Figure,
    Label,
    Line,
    Mark,
    Numbers,
    Points,
    Rule,
)

BAND_OPACITY, AREA_OPACITY = 0.13, 0.18
SYMBOLS = {"circle": "circle", "hollow": "circle-open", "cross": "x", "star": "star"}
GRID = "rgba(128, 128, 128, 0.22)"
NARROW, WIDE = 0.75, 5.5  # decades of a logarithmic axis
LONG_NAME = 16  # letters of a name beside an axis that are written in one line


def plotly_figure(figure: Figure) -> dict[str, Any]:
    """Return a figure as ``data`` and ``layout`` of plotly.js."""
    axes = {"xaxis": _axis(figure.x, upright=False), "yaxis": _axis(figure.y, upright=True)}
    layout = {
        **axes,
        "height": figure.height,
        "margin": {"l": 56, "r": 14, "t": 26, "b": 48},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "showlegend": False,
        "barmode": "overlay",
        "hovermode": "closest",
        "shapes": [*map(_band, figure.bands), *map(_rule, figure.rules)],
        "annotations": [
            *(_band_word(band, figure.x) for band in figure.bands if band.label),
            *(_rule_word(rule, figure) for rule in figure.rules if rule.label),
            *map(_label, figure.labels),
        ],
    }
    return {"data": [trace for mark in figure.marks for trace in _traces(mark)], "layout": layout}


def custom_plot(figure: Figure) -> Any:
    """Return a figure as plotly's own object with its title and its legend within, for Optuna's dashboard."""
    import plotly.graph_objects as go  # here, because it takes a second

    drawn = plotly_figure(figure)
    named: set[str] = set()
    for trace in drawn["data"]:
        name = trace.get("name", "")
        trace["legendgroup"] = name
        trace["showlegend"] = bool(name) and name not in named
        named.add(name)
    title = {"text": html_lines(figure.title)}
    layout = {**drawn["layout"], "title": title, "showlegend": True, "margin": {"t": 60}}
    return go.Figure(data=drawn["data"], layout=layout)


def legend_entries(figure: Figure) -> list[tuple[str, str, str, list[int]]]:
    """Return the legend: label, colour, symbol and the places of the traces that each entry names.

    Marks of one label and colour share an entry, with the symbol of the foremost.
    """
    places: dict[tuple[str, str], list[int]] = {}
    symbols: dict[tuple[str, str], str] = {}
    place = 0
    for mark in figure.marks:
        traces = len(_traces(mark))
        if mark.label:
            places.setdefault((mark.label, mark.color), []).extend(range(place, place + traces))
            symbols[mark.label, mark.color] = _legend_symbol(mark)
        place += traces
    return [(label, color, symbols[label, color], mine) for (label, color), mine in places.items()]


def _legend_symbol(mark: Mark) -> str:
    if isinstance(mark, Points):
        return mark.symbol
    return "line" if isinstance(mark, Line) else "circle"


def html_lines(text: str) -> str:
    """Return a text for plotly, which reads a little HTML: nothing in it is taken for a tag."""
    return escape(text).replace("\n", "<br>")


def _traces(mark: Mark) -> list[dict[str, Any]]:
    if isinstance(mark, Line):
        return [_line(mark)]
    if isinstance(mark, Points):
        return [_points(mark)]
    return [_bars(mark)] if isinstance(mark, Bars) else _area(mark)


def _line(line: Line) -> dict[str, Any]:
    shape = {"shape": "hv"} if line.steps else {}
    return {
        **_common(line.label, line.texts),
        "type": "scatter",
        "mode": "lines",
        "x": _numbers(line.x),
        "y": _numbers(line.y),
        "opacity": line.opacity,
        "line": {"color": line.color, "width": line.width, **shape},
    }


def _points(points: Points) -> dict[str, Any]:
    edge = {"width": 1.6, "color": points.color} if points.symbol == "hollow" else {"width": 0}
    return {
        **_common(points.label, points.texts),
        "type": "scatter",
        "mode": "markers",
        "x": _numbers(points.x),
        "y": _numbers(points.y),
        "marker": {
            "color": points.color,
            "size": points.size,
            "symbol": SYMBOLS[points.symbol],
            "opacity": points.opacity,
            "line": edge,
        },
    }


def _bars(bars: Bars) -> dict[str, Any]:
    along, across = ("y", "x") if bars.upright else ("x", "y")
    return {
        **_common(bars.label, bars.texts),
        "type": "bar",
        "orientation": "v" if bars.upright else "h",
        along: _numbers(bars.lengths),
        across: _numbers(bars.places),
        "base": _numbers(bars.starts),
        "width": _numbers(bars.thickness),
        "textposition": "none",
        "marker": {"color": bars.color, "line": {"width": 0}},
    }


def _area(area: Area) -> list[dict[str, Any]]:
    common = {"type": "scatter", "mode": "lines", "x": _numbers(area.x), "hoverinfo": "skip"}
    line = {"color": area.color, "width": 0, "shape": "hv"}
    red, green, blue = (int(area.color[place : place + 2], 16) for place in (1, 3, 5))
    fill = f"rgba({red}, {green}, {blue}, {AREA_OPACITY})"
    return [
        {**common, "y": _numbers(area.low), "line": line},
        {**common, "y": _numbers(area.high), "line": line, "fill": "tonexty", "fillcolor": fill},
    ]


def _common(label: str, texts: Sequence[str]) -> dict[str, Any]:
    pointed = (
        {"text": [html_lines(text) for text in texts], "hoverinfo": "text"}
        if texts
        else {"hoverinfo": "skip"}
    )
    return {"name": html_lines(label), **pointed}


def _axis(axis: Axis, *, upright: bool) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "title": {"text": html_lines(axis.label), "standoff": 8},
        "type": "log" if axis.log else "linear",
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": True,
        "fixedrange": bool(axis.names) or not axis.ticks,
    }
    if axis.log:
        layout |= {"tickformat": "~g", "dtick": _log_step(axis)}
    if axis.span is not None:
        layout["range"] = [_place(value, axis) for value in axis.span]
    if axis.names:
        texts = [_broken(name) if upright else html_lines(name) for name in axis.names]
        layout |= {"tickvals": list(range(len(texts))), "ticktext": texts, "showgrid": False}
    if not axis.ticks:
        layout["visible"] = False
    return layout


def _log_step(axis: Axis) -> str | int:
    """Return which values of a logarithmic axis are named: all digits, 1, 2 and 5, or powers of ten."""
    low, high = axis.span or (1.0, 1e3)
    decades = math.log10(high / low)
    if decades < NARROW:
        return "D1"
    return "D2" if decades < WIDE else math.ceil(decades / WIDE)


def _broken(name: str) -> str:
    """Return a long name in two lines, broken before a capital letter or a space near its middle."""
    if len(name) <= LONG_NAME:
        return html_lines(name)
    breaks = [place for place in range(4, len(name) - 3) if name[place].isupper() or name[place] == " "]
    if not breaks:
        return html_lines(name)
    place = min(breaks, key=lambda place: abs(place - len(name) / 2))
    return html_lines(f"{name[:place]}\n{name[place:].strip()}")


def _place(value: float, axis: Axis) -> float:
    """Return a value as plotly's ranges and annotations have it: on a logarithmic axis its logarithm."""
    return math.log10(value) if axis.log else value


def _band(band: Band) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": band.low,
        "x1": band.high,
        "y0": 0,
        "y1": 1,
        "yref": "y domain",
        "fillcolor": band.color,
        "opacity": BAND_OPACITY,
        "line": {"width": 0},
        "layer": "below",
    }


def _band_word(band: Band, x: Axis) -> dict[str, Any]:
    middle = (_place(band.low, x) + _place(band.high, x)) / 2
    word = {"text": html_lines(band.label), "showarrow": False, "xanchor": "center", "yanchor": "bottom"}
    return {**word, "x": middle, "y": 0, "yref": "y domain"}


def _rule(rule: Rule) -> dict[str, Any]:
    along, across = ("y", "x") if rule.upright else ("x", "y")
    line = {"color": rule.color, "width": 1.4, "dash": "dot"}
    ends = {f"{along}0": 0, f"{along}1": 1, f"{along}ref": f"{along} domain"}
    return {
        "type": "line",
        f"{across}0": rule.at,
        f"{across}1": rule.at,
        **ends,
        "line": line,
        "layer": "below",
    }


def _rule_word(rule: Rule, figure: Figure) -> dict[str, Any]:
    word: dict[str, Any] = {"text": html_lines(rule.label), "showarrow": False, "font": {"color": rule.color}}
    if not rule.upright:
        at = _place(rule.at, figure.y)
        return {**word, "x": 1, "xref": "x domain", "xanchor": "right", "y": at, "yanchor": "bottom"}
    at, (low, high) = (
        _place(rule.at, figure.x),
        (_place(value, figure.x) for value in figure.x.span or (0, 1)),
    )
    anchor = "left" if at < (low + high) / 2 else "right"
    return {**word, "x": at, "xanchor": anchor, "y": 1, "yref": "y domain", "yanchor": "bottom"}


def _label(label: Label) -> dict[str, Any]:
    anchor = "bottom" if label.above else "top"
    text = {"text": html_lines(label.text), "showarrow": False, "font": {"size": 11}}
    return {**text, "x": label.x, "y": label.y, "xanchor": "center", "yanchor": anchor}


def _numbers(values: Numbers) -> list[float | None]:
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
