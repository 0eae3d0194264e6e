"""Figures of how the search went: its best value over trials and time, and the values by schedule kind."""

import math

from lrsearch.review.report.colors import BEST, OUTCOMES, opacity, series_colors
from lrsearch.review.report.figure import Absent, Axis, Figure, Line, Mark, Points
from lrsearch.review.report.losses import loss_axis, of_part, top_of
from lrsearch.review.report.trials import ShownStudy
from lrsearch.review.wording import number

GOLDEN_RATIO = 1.618033988749895  # its multiples modulo 1 spread evenly
SPREAD = 0.55  # part of a row's height over which its points are spread
UNITS = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def history(study: ShownStudy) -> list[Figure | Absent]:
    """Return the best value over trials, and over time."""
    over_trials = _history(study, "history", "Best value over trials", over_time=False)
    over_time = _history(study, "history-time", "Best value over time", over_time=True)
    return [over_trials, over_time]


def kinds(study: ShownStudy) -> list[Figure | Absent]:
    """Return the values by schedule kind, a figure for each part of the study."""
    return [_kinds(study, part) for part in study.parts]


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds of the unit in which a time is shown, and its name."""
    return next((length, name) for least, length, name in UNITS if seconds >= least)


def _history(study: ShownStudy, name: str, title: str, *, over_time: bool) -> Figure | Absent:
    best = study.best_so_far()
    if not any(map(math.isfinite, best)):
        return Absent(name, title, "No trial has been trained to its end yet, so there is no best value.")
    length, unit = time_unit(study.clock.total_s)
    places = tuple(
        study.clock.at(trial.record.finished_at) / length if over_time else float(place)
        for place, trial in enumerate(study.ended, 1)
    )
    y = loss_axis([trial.loss for trial in study.ended if math.isfinite(trial.loss)], room_above=0.05)
    marks: list[Mark] = []
    for outcome in ("diverged", "stopped", "complete"):
        mine = [place for place, trial in enumerate(study.ended) if trial.outcome == outcome]
        losses = tuple(top_of(y) if outcome == "diverged" else study.ended[place].loss for place in mine)
        texts = tuple(study.ended[place].text for place in mine)
        symbol = {"diverged": "cross", "stopped": "hollow"}.get(outcome, "circle")
        if mine:
            x = tuple(places[place] for place in mine)
            marks.append(Points(outcome, x, losses, OUTCOMES[outcome], symbol, 7.0, 0.8, texts))
    steps = tuple(f"best so far: {number(value)}" for value in best)
    marks.append(Line("best so far", places, best, BEST, 2.5, 1.0, steps, steps=True))
    label = f"{unit} of training (pauses left out)" if over_time else "trials that have ended"
    end = study.clock.total_s / length if over_time else len(study.ended)
    return Figure(name, title, Axis(label, span=(0.0, end * 1.02 or 1.0)), y, tuple(marks))


def _kinds(study: ShownStudy, part: str | None) -> Figure | Absent:
    name, title = of_part("kinds", "Loss by schedule kind", part)
    finite = [trial for trial in study.ended if math.isfinite(trial.loss)]
    if not finite:
        return Absent(name, title, "No trial with a finite loss has ended yet.")
    best = {
        kind: min((trial.loss for trial in study.ranked if trial.points[part].kind == kind), default=math.inf)
        for kind in study.kinds
    }
    tried = {trial.points[part].kind for trial in study.ended}
    kinds = [kind for kind in study.kinds if kind in tried]
    rows = sorted(kinds, key=lambda kind: (best[kind], kinds.index(kind)))
    colors, marks = series_colors(study.kinds), []
    faint = opacity(0.75, len(finite))
    for outcome, symbol, seen in (("stopped", "hollow", faint), ("complete", "circle", 0.9)):
        for row, kind in enumerate(rows):
            mine = [t for t in finite if t.outcome == outcome and t.points[part].kind == kind]
            if mine:
                x = tuple(trial.loss for trial in mine)
                y = tuple(row + SPREAD * ((trial.number * GOLDEN_RATIO) % 1 - 0.5) for trial in mine)
                texts = tuple(trial.text for trial in mine)
                marks.append(Points("", x, y, colors[kind], symbol, 8.0, seen, texts))
    x_axis = loss_axis([trial.loss for trial in finite])
    names = tuple(_row_name(study, part, kind) for kind in rows)
    y_axis = Axis("", span=(len(rows) - 0.4, -0.6), names=names)
    note = "Filled: trained to the end; hollow: stopped early, at its last loss. "
    if len(rows) > 1:
        note += "The kind with the best trial stands first; beside each are its complete and all its trials."
    else:
        note += "This is the only kind that was tried."
    return Figure(name, title, x_axis, y_axis, tuple(marks), note, height=130 + 44 * len(rows))


def _row_name(study: ShownStudy, part: str | None, kind: str) -> str:
    mine = [trial for trial in study.ended if trial.points[part].kind == kind]
    complete = sum(trial.outcome == "complete" for trial in mine)
    return f"{kind} {complete}/{len(mine)}"
