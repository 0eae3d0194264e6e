"""When the losses of a range test have left all bounds."""

import math

DIVERGENCE_FACTOR = 4
SMOOTHING = 0.9
JUDGED_FROM = 10  # losses: the mean of fewer is as low as chance has it


class LossWatch:
    """Follows the losses of one lane and says when it has diverged.

    Losses are smoothed exponentially, with correction for the start at zero (as Adam corrects its averages).
    A lane has diverged when a loss is not finite, or when the smoothed one exceeds 4 times its best so far:
    best + 3 |best|. Where the best lies near zero, |best| says nothing; then a tenth of the descent so far,
    or the losses' scatter, takes its place, whichever is largest.
    """

    def __init__(self) -> None:
        self._count = 0
        self._average = 0.0
        self._first = math.nan
        self._best = math.inf
        self._deviations = 0.0

    @property
    def smoothed(self) -> float:
        """The smoothed loss so far, NaN before the first."""
        return self._average / (1 - SMOOTHING**self._count) if self._count else math.nan

    @property
    def limit(self) -> float:
        """The smoothed loss above which the lane has diverged; infinite before there is a best one."""
        if math.isinf(self._best):
            return math.inf
        scatter = self._deviations / max(self._count - 1, 1)
        scale = max(abs(self._best), (self._first - self._best) / 10, scatter)
        return self._best + (DIVERGENCE_FACTOR - 1) * scale

    def diverges(self, loss: float) -> bool:
        """Return whether the lane has diverged with its next loss."""
        if not math.isfinite(loss):
            return True
        limit = self.limit
        self._add(loss)
        if self._count >= JUDGED_FROM:
            self._best = min(self._best, self.smoothed)
        return self.smoothed > limit

    def _add(self, loss: float) -> None:
        if self._count:
            self._deviations += abs(loss - self.smoothed)
        else:
            self._first = loss
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        self._count += 1
