"""Draws ``docs/schedules/*.svg``: the learning rate over a run, for each kind and for the warm-up.

Run it with ``python docs/draw_schedules.py`` from the root of the project.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from lrsearch.schedules import Hyperparameters, Schedule  # noqa: E402

EPOCHS, STEPS_PER_EPOCH = 20, 10
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 200, 36, 12, 24  # of a picture, in pixels, with its margins
PLOT_WIDTH = 380  # the rest is for the legend
COLOURS = ("#3b82f6", "#e0752d", "#16a085", "#b15ad1")  # seen well on white and on black
GREY = "#888888"
LOSSES = (1.0, 0.8, 0.7, 0.65, 0.64, 0.64, 0.64, 0.64, 0.5, 0.45, 0.44, 0.44, 0.44, 0.44, 0.43)


@dataclass(frozen=True)
class Curve:
    """A run whose learning rate is drawn.

    Args:
        kind: name of the schedule kind.
        knobs: its parameters that differ from their usual values, or are worth naming.
        warmup_fraction: part of the run in which the learning rate rises linearly.
    """

    kind: str
    knobs: dict[str, Any] = field(default_factory=dict)
    warmup_fraction: float = 0.0

    @property
    def label(self) -> str:
        """What tells it from the other curves of its picture."""
        if self.warmup_fraction:
            return f"{self.kind}, warm-up {self.warmup_fraction}"
        return ", ".join(f"{name} {value}" for name, value in self.knobs.items()) or self.kind

    def lrs(self) -> list[float]:
        """Return the learning rate of each update, as a part of the peak."""
        point = Hyperparameters(1.0, self.kind, self.knobs, self.warmup_fraction)
        schedule = Schedule(point, EPOCHS, STEPS_PER_EPOCH)
        state, lrs = schedule.start(), list[float]()
        for epoch in range(EPOCHS):
            lrs += schedule.epoch_lrs(epoch, state).tolist()
            state = schedule.update(state, LOSSES[min(epoch, len(LOSSES) - 1)])
        return lrs


PICTURES: dict[str, tuple[Curve, ...]] = {
    "constant": (Curve("constant"),),
    "StepLR": (
        Curve("StepLR", {"step_fraction": 0.3, "gamma": 0.1}),
        Curve("StepLR", {"step_fraction": 0.1, "gamma": 0.7}),
    ),
    "MultiStepLR": (
        Curve("MultiStepLR", {"first_fraction": 0.5, "second_fraction": 0.5}),
        Curve("MultiStepLR", {"first_fraction": 0.3, "second_fraction": 0.8}),
    ),
    "ExponentialLR": (
        Curve("ExponentialLR", {"final_factor": 0.3}),
        Curve("ExponentialLR", {"final_factor": 0.01}),
    ),
    "LinearLR": (Curve("LinearLR", {"end_factor": 0.0}), Curve("LinearLR", {"end_factor": 0.1})),
    "PolynomialLR": (
        Curve("PolynomialLR", {"power": 0.3}),
        Curve("PolynomialLR", {"power": 1.0}),
        Curve("PolynomialLR", {"power": 3.0}),
    ),
    "CosineAnnealingLR": (
        Curve("CosineAnnealingLR", {"end_factor": 0.0}),
        Curve("CosineAnnealingLR", {"end_factor": 0.1}),
    ),
    "CosineAnnealingWarmRestarts": (
        Curve("CosineAnnealingWarmRestarts", {"cycles": 2, "T_mult": 1}),
        Curve("CosineAnnealingWarmRestarts", {"cycles": 3, "T_mult": 2}),
    ),
    "CyclicLR": (
        Curve("CyclicLR", {"mode": "triangular", "cycles": 3}),
        Curve("CyclicLR", {"mode": "triangular2", "cycles": 3}),
    ),
    "OneCycleLR": (
        Curve("OneCycleLR", {"pct_start": 0.3, "div_factor": 25.0}),
        Curve("OneCycleLR", {"pct_start": 0.1, "div_factor": 3.0}),
    ),
    "ReduceLROnPlateau": (
        Curve("ReduceLROnPlateau", {"factor": 0.5, "patience": 0}),
        Curve("ReduceLROnPlateau", {"factor": 0.1, "patience": 1}),
    ),
    "WSD": (Curve("WSD", {"decay_fraction": 0.2}), Curve("WSD", {"decay_fraction": 0.5})),
    "InverseTime": (
        Curve("InverseTime", {"final_factor": 0.1, "power": 0.5}),
        Curve("InverseTime", {"final_factor": 0.01, "power": 1.0}),
    ),
    "InverseSqrt": (Curve("InverseSqrt"), Curve("InverseSqrt", warmup_fraction=0.2)),
    "Sine": (
        Curve("Sine", {"mode": "sin", "cycles": 3}),
        Curve("Sine", {"mode": "sin2", "cycles": 3}),
    ),
    "WarmupExponential": (
        Curve("WarmupExponential", {"final_factor": 0.01}),
        Curve("WarmupExponential", {"final_factor": 0.01}, 0.2),
    ),
    "warm-up": (
        Curve("LinearLR", warmup_fraction=0.2),
        Curve("WSD", warmup_fraction=0.05),
        Curve("StepLR", warmup_fraction=0.2),
    ),
}


def main() -> None:
    """Draw all pictures."""
    for name, curves in PICTURES.items():
        path = ROOT / "docs" / "schedules" / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text(picture(curves), encoding="utf-8")


def picture(curves: tuple[Curve, ...]) -> str:
    """Return an SVG of learning rates over a run."""
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    letters = f'font-family="sans-serif" font-size="11" fill="{GREY}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {letters}>',
        *axes(),
        *(line for number, curve in enumerate(curves) for line in drawn(curve, number)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def axes() -> Iterator[str]:
    """Draw the axes: the learning rate as a part of the peak, over the part of the run that is done."""
    for value in (0, 0.5, 1):
        x, y = across(value), down(value)
        yield f'<path d="M{LEFT},{y} H{LEFT + PLOT_WIDTH}" stroke="{GREY}" stroke-opacity="0.35"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value}</text>'
        yield f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{round(value * EPOCHS)}</text>'
    yield f'<text x="{LEFT + PLOT_WIDTH + 14}" y="{HEIGHT - 8}">epoch</text>'


def drawn(curve: Curve, number: int) -> Iterator[str]:
    """Draw a curve and its line of the legend."""
    lrs = curve.lrs()
    points = [(across(step / len(lrs)), down(lr)) for step, lr in enumerate(lrs)]
    path = " ".join(f"{x},{y}" for x, y in corners(points))
    colour, y = COLOURS[number], TOP + 14 + 22 * number
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    yield f'<path d="M{LEFT + PLOT_WIDTH + 14},{y} h16" stroke="{colour}" stroke-width="3"/>'
    yield f'<text x="{LEFT + PLOT_WIDTH + 36}" y="{y + 4}">{curve.label}</text>'


def corners(points: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Leave out points within a level stretch."""
    for before, point, after in zip([None, *points], points, [*points[1:], None], strict=False):
        if before is None or after is None or not before[1] == point[1] == after[1]:
            yield point


def across(progress: float) -> float:
    """Return where a part of the run lies, in pixels from the left."""
    return round(LEFT + progress * PLOT_WIDTH, 1)


def down(factor: float) -> float:
    """Return where a part of the peak lies, in pixels from the top."""
    return round(TOP + (1 - factor) * (HEIGHT - TOP - BOTTOM), 1)


if __name__ == "__main__":
    main()
