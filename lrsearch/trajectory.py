"""Learning rates that an optimizer was seen to have during a run, as frozen values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUMBERS = 400  # learning rates that are kept of a run
LEAST_UPDATES = 40  # that are kept however many groups there are
KINKS = 12  # sharpest bends that are kept with both neighbours


@dataclass(frozen=True)
class ModelParameter:
    """A parameter of the model that was trained.

    Args:
        name: in ``model.named_parameters()``.
        dimensions: of its tensor.
        trainable: whether it needed a gradient before anything was frozen.
        group: index of its parameter group in the optimizer; None if it is in none.
    """

    name: str
    dimensions: int
    trainable: bool
    group: int | None


@dataclass(frozen=True)
class Loop:
    """What a task asks of the training loop beside the schedule.

    Args:
        clip_norm: limit of the gradient's norm, or None.
        accumulate: batches whose mean gradient makes one update.
        amp: whether forward passes run in bfloat16.
    """

    clip_norm: float | None = None
    accumulate: int = 1
    amp: bool = False


@dataclass(frozen=True)
class Trajectory:
    """The learning rates that were read from ``optimizer.param_groups`` before some updates of a run.

    Args:
        epochs: length of the run.
        steps_per_epoch: optimizer updates in an epoch.
        lrs: of each parameter group, by number of the update, from 0.
        parameters: of the model, in its order.
        valid_losses: by epoch; empty where nothing was trained and no schedule reads them.
        loop: what else the training loop did.
    """

    epochs: int
    steps_per_epoch: int
    lrs: Mapping[int, tuple[float, ...]]
    parameters: tuple[ModelParameter, ...]
    valid_losses: tuple[float, ...] = ()
    loop: Loop = Loop()


def proving_updates(lrs: NDArray[np.float64], steps_per_epoch: int, warmup_steps: int) -> list[int]:
    """Return those updates of a run, in order, whose learning rates prove a schedule.

    First come those where mistakes show: the ends of the run and of its warm-up, the sharpest bends, and the
    first and last update of every epoch (of evenly spaced ones, where epochs are many); then evenly spaced
    ones, up to 400 numbers in all.

    Args:
        lrs: of every update and group, ``[updates, groups]``.
        steps_per_epoch: updates in an epoch.
        warmup_steps: updates of the warm-up.
    """
    total, groups = lrs.shape
    limit = max(LEAST_UPDATES, NUMBERS // groups)
    around = range(warmup_steps - 2, warmup_steps + 2) if warmup_steps else ()
    chosen = _within({0, total - 1, *around, *_bends(lrs)}, total)
    epochs = total // steps_per_epoch
    shown = _evenly(epochs, max(1, (limit - len(chosen)) // 2))
    boundaries = (
        step for epoch in shown for step in (epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch - 1)
    )
    chosen |= _within(boundaries, total)
    chosen |= set(_evenly(total, max(0, min(limit - len(chosen), 2 * LEAST_UPDATES))))
    return sorted(chosen)


def _bends(lrs: NDArray[np.float64]) -> set[int]:
    """Return the updates at which the learning rates change direction most sharply, and their neighbours."""
    if len(lrs) < 3:
        return set()
    bends = np.abs(np.diff(lrs.sum(axis=1), n=2))
    sharpest = np.argsort(-bends, kind="stable")[:KINKS]
    return {int(place) + offset for place in sharpest if bends[place] > 0 for offset in (0, 1, 2)}


def _evenly(total: int, count: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(0, total - 1, min(count, total)).round()})


def _within(updates: Iterable[int], total: int) -> set[int]:
    return {update for update in updates if 0 <= update < total}
