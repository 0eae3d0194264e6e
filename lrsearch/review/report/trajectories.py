"""The figure of learning rates over a run, as the best trials were trained."""

import math
from collections.abc import Sequence

import numpy as np

from lrsearch.errors import SpecError
from lrsearch.review.report.colors import BEST, SERIES
from lrsearch.review.report.figure import Absent, Axis, Figure, Line
from lrsearch.review.report.losses import of_part
from lrsearch.review.report.trials import ShownStudy, ShownTrial
from lrsearch.review.wording import number
from lrsearch.schedules import Hyperparameters, Schedule

SHOWN_TRIALS = 6
POINTS = 600  # of one line
NOMINAL_STEPS = 100  # of an epoch whose updates are not known
WIDE = 30.0  # ratio of peaks above which a linear axis would flatten the smaller ones
DEPTH = 1e-3  # part of the largest rate below which a logarithmic axis ends


def trajectories(study: ShownStudy) -> list[Figure | Absent]:
    """Return the learning rates of the best trials, a figure for each part of the study."""
    return [_trajectories(study, part) for part in study.parts]


def trajectory(
    hyperparameters: Hyperparameters, epochs: int, steps_per_epoch: int, losses: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the learning rate of a run's updates over the epochs, thinned to what can be drawn.

    A schedule with feedback is followed through the validation losses.

    Args:
        hyperparameters: of the run.
        epochs: its length.
        steps_per_epoch: updates in an epoch.
        losses: on the validation split, by epoch; the run is followed for as many epochs.

    Raises:
        SpecError: the schedule is the user's own, and its code is not loaded.
    """
    schedule = Schedule(hyperparameters, epochs, steps_per_epoch)
    if not hyperparameters.schedule_kind.loaded:
        raise SpecError(f"the code of {hyperparameters.kind} is not loaded")
    shown = _shown_steps(steps_per_epoch, max(2, POINTS // max(len(losses), 1)))
    x: list[float] = []
    y: list[float] = []
    state = schedule.start()
    for epoch, loss in enumerate(losses):
        lrs = schedule.epoch_lrs(epoch, state)
        x += [epoch + step / steps_per_epoch for step in shown]
        y += [float(lrs[step]) for step in shown]
        state = schedule.update(state, loss)
    return tuple(x), tuple(y)


def _trajectories(study: ShownStudy, part: str | None) -> Figure | Absent:
    name, title = of_part("trajectories", "Learning rate over the run", part)
    best = [trial for trial in study.ranked if trial.losses][:SHOWN_TRIALS]
    if not best:
        return Absent(name, title, "No trial has been trained to its end yet.")
    steps = study.facts.steps_per_epoch or NOMINAL_STEPS
    lines = [
        _line(study, trial, part, steps, color) for trial, color in zip(best, (BEST, *SERIES), strict=False)
    ]
    note = f"The best {len(best)} trials as they were trained, update by update." if len(best) > 1 else ""
    if study.facts.steps_per_epoch is None:
        note += f" The number of updates in an epoch is not known: drawn with {NOMINAL_STEPS}."
    if any(not trial.points[part].schedule_kind.loaded for trial in best):
        note += " A schedule whose code is not loaded is drawn by the last update of each epoch."
    x = Axis("epoch", span=(0.0, float(study.epochs)))
    return Figure(name, title, x, _axis(lines), tuple(lines), note.strip())


def _line(study: ShownStudy, trial: ShownTrial, part: str | None, steps: int, color: str) -> Line:
    point = trial.points[part]
    try:
        x, y = trajectory(point, study.epochs, steps, trial.losses)
    except SpecError:
        epochs = study.facts.curves[trial.number]
        x, y = tuple(float(each.epoch) for each in epochs), tuple(each.lr for each in epochs)
    width = 3.4 if trial is study.best else 1.8
    texts = tuple(
        f"trial {trial.number}, epoch {at:.2f}: lr {number(lr)}" for at, lr in zip(x, y, strict=True)
    )
    label = f"trial {trial.number}: {point.kind}, {number(trial.loss)}"
    return Line(label, x, y, color, width, 1.0 if trial is study.best else 0.85, texts)


def _axis(lines: Sequence[Line]) -> Axis:
    peaks = [max((lr for lr in line.y if math.isfinite(lr)), default=0.0) for line in lines]
    high = max(peaks)
    if min(peaks) > 0 and high / min(peaks) > WIDE:
        return Axis("learning rate", log=True, span=(min(peaks) * DEPTH**0.5, high * 1.3))
    return Axis("learning rate", span=(0.0, high * 1.06 or 1.0))


def _shown_steps(steps: int, most: int) -> list[int]:
    """Return updates of an epoch, the first and the last among them."""
    return sorted({int(step) for step in np.linspace(0, steps - 1, min(steps, most))})
