"""How the learning rate grows, update by update."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrsearch.errors import SpecError, UnknownNameError

EXPONENTIAL, LINEAR = "exponential", "linear"
GROWTHS = (EXPONENTIAL, LINEAR)
MIN_STEPS = 20


@dataclass(frozen=True)
class Growth:
    """A learning rate that rises from update to update.

    Update i (from 0) has lr = low + i d (linear) or lr = low 2^(i / period) (exponential), so that ``high``
    is reached after ``steps`` updates.

    Args:
        kind: ``"exponential"`` or ``"linear"``.
        low: learning rate of the first update, above 0.
        high: learning rate after the last update, above ``low``.
        steps: number of updates, at least 20.

    Raises:
        UnknownNameError: if there is no such kind.
        SpecError: if a number is out of its limits.
    """

    kind: str
    low: float
    high: float
    steps: int

    def __post_init__(self) -> None:
        if self.kind not in GROWTHS:
            raise UnknownNameError("growth", self.kind, GROWTHS)
        if not 0 < self.low < self.high < math.inf:
            raise SpecError(
                "a range test needs finite learning rates with 0 < min < max, "
                f"but got min = {self.low}, max = {self.high}"
            )
        if self.steps < MIN_STEPS:
            raise SpecError(
                f"a range test needs at least {MIN_STEPS} steps to tell a slope from noise, "
                f"but got {self.steps}; 100 to 300 are usual: --steps 200"
            )

    @property
    def increment(self) -> float | None:
        """The d of lr = min + d i; None if the growth is exponential."""
        return (self.high - self.low) / self.steps if self.kind == LINEAR else None

    @property
    def doubling_period(self) -> float | None:
        """The period of lr = min 2^(i / period), in updates; None if the growth is linear."""
        return self.steps / math.log2(self.high / self.low) if self.kind == EXPONENTIAL else None

    def lrs(self) -> NDArray[np.float64]:
        """Return the learning rate of every update, shape ``[steps]``."""
        spaced = np.linspace if self.kind == LINEAR else np.geomspace
        return spaced(self.low, self.high, self.steps, endpoint=False)
