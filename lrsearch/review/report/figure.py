"""A figure, described once for whatever draws it: plotly on a page, matplotlib into an image."""

from dataclasses import dataclass

Numbers = tuple[float, ...]
"""Values along an axis; NaN is a gap in a line."""


@dataclass(frozen=True)
class Axis:
    """An axis.

    Args:
        label: beside it; empty for none.
        log: whether it is logarithmic.
        span: values at its beginning and its end, the larger one first where it runs backwards; None fits it
            to what is drawn.
        names: texts at 0, 1, 2 and so on in place of numbers; of one that is empty, neither is a line drawn.
        ticks: whether numbers and lines are drawn.
    """

    label: str
    log: bool = False
    span: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    ticks: bool = True


@dataclass(frozen=True)
class Line:
    """A line, or several with gaps between them.

    Args:
        label: what the legend says; empty for one that it leaves out.
        x: values along the x-axis.
        y: values along the y-axis, as many.
        color: as ``#rrggbb``.
        width: in points.
        opacity: in (0, 1].
        texts: what is shown beside each point that is pointed at; empty for nothing.
        steps: whether y keeps its value until the next x.
    """

    label: str
    x: Numbers
    y: Numbers
    color: str
    width: float = 2.0
    opacity: float = 1.0
    texts: tuple[str, ...] = ()
    steps: bool = False


@dataclass(frozen=True)
class Points:
    """Points.

    Args:
        label: what the legend says; empty for what it leaves out.
        x: values along the x-axis.
        y: values along the y-axis, as many.
        color: as ``#rrggbb``.
        symbol: circle, hollow (a circle that is not filled), cross or star.
        size: diameter in points.
        opacity: in (0, 1].
        texts: what is shown beside each point that is pointed at; empty for nothing.
    """

    label: str
    x: Numbers
    y: Numbers
    color: str
    symbol: str = "circle"
    size: float = 8.0
    opacity: float = 0.9
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bars:
    """Bars that lie or stand.

    Args:
        label: what the legend says; empty for what it leaves out.
        places: middle of each bar on the axis that it does not run along.
        starts: where each bar begins.
        lengths: of the bars.
        color: as ``#rrggbb``.
        thickness: of each bar, in units of the axis that they do not run along.
        upright: whether they run along the y-axis.
        texts: what is shown beside a bar that is pointed at; empty for nothing.
    """

    label: str
    places: Numbers
    starts: Numbers
    lengths: Numbers
    color: str
    thickness: Numbers
    upright: bool = False
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Area:
    """What lies between two lines.

    Args:
        label: what the legend says; empty for what it leaves out.
        x: values along the x-axis.
        low: of the lower line, as many.
        high: of the upper line, as many.
        color: as ``#rrggbb``.
    """

    label: str
    x: Numbers
    low: Numbers
    high: Numbers
    color: str


Mark = Line | Points | Bars | Area


@dataclass(frozen=True)
class Band:
    """Part of the x-axis, coloured from the bottom to the top."""

    label: str
    low: float
    high: float
    color: str


@dataclass(frozen=True)
class Rule:
    """A dotted straight line across the whole figure, upright or level, with a word at its end or none."""

    at: float
    label: str
    color: str
    upright: bool = True


@dataclass(frozen=True)
class Label:
    """A text within the figure.

    Args:
        x: where it is anchored.
        y: where it is anchored.
        text: what it says.
        above: whether it stands above the place; else below.
    """

    x: float
    y: float
    text: str
    above: bool


@dataclass(frozen=True)
class Figure:
    """One figure.

    Args:
        name: by which a page finds it: small letters, digits and hyphens.
        title: above it.
        x: the x-axis.
        y: the y-axis.
        marks: from the rearmost to the foremost.
        note: what a reader must know to read it right, in a sentence or two; empty for nothing.
        legend: what stands before the words of the legend; empty for nothing.
        bands: behind everything.
        rules: straight lines.
        labels: texts within it.
        height: on a page, in pixels.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    note: str = ""
    legend: str = ""
    bands: tuple[Band, ...] = ()
    rules: tuple[Rule, ...] = ()
    labels: tuple[Label, ...] = ()
    height: int = 420


@dataclass(frozen=True)
class Absent:
    """A figure that cannot be drawn.

    Args:
        name: as of a figure.
        title: as of a figure.
        reason: why it cannot be drawn and what would help, in a sentence.
    """

    name: str
    title: str
    reason: str
