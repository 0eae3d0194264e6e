"""What a worker has done and the database does not know yet: kept while it does not answer, then written."""

from collections.abc import Iterable
from dataclasses import dataclass

from lrsearch.results import Claim, EpochResult, TrialResult
from lrsearch.service.outage import Outage
from lrsearch.storage.epochs import record_epochs
from lrsearch.storage.slots import Slots


@dataclass(frozen=True)
class Written:
    """What has become of what was to be written.

    Args:
        closed: claims whose trials have ended or were given back, and are held no more.
        lost: claims that another worker has by now; nothing was stored for them.
    """

    closed: tuple[Claim, ...] = ()
    lost: tuple[Claim, ...] = ()


class Ledger:
    """Epochs, results and slots given back, in their order.

    Each is written once: an epoch overwrites itself, and all writes name the claim's attempt.

    Args:
        slots: the study's.
        outage: makes the calls.
    """

    def __init__(self, slots: Slots, outage: Outage) -> None:
        self._slots, self._outage = slots, outage
        self._epochs: list[tuple[Claim, EpochResult, float]] = []
        self._endings: list[tuple[Claim, TrialResult]] = []
        self._released: list[Claim] = []

    @property
    def pending(self) -> bool:
        """Whether there is something that is not written yet."""
        return bool(self._epochs or self._endings or self._released)

    def holds(self, claim: Claim) -> bool:
        """Return whether a claim is to be closed once that can be written."""
        return claim in self._released or any(ended is claim for ended, _result in self._endings)

    def enter(self, epochs: Iterable[tuple[Claim, EpochResult, float]]) -> None:
        """Enter epochs; see ``record_epochs``."""
        self._epochs += epochs

    def end(self, endings: Iterable[tuple[Claim, TrialResult]]) -> None:
        """Enter how trials ended."""
        self._endings += endings

    def release(self, claims: Iterable[Claim]) -> None:
        """Enter slots that are given back."""
        self._released += claims

    def write(self) -> Written:
        """Write all that is entered, or keep what the database does not take now.

        Raises:
            DatabaseLostError: the database has not answered for longer than is waited.
        """
        lost: list[Claim] = []
        closed: list[Claim] = []
        if self.pending:
            self._outage.attempt(lambda: self._write(lost, closed), None)
        return Written(tuple(closed), tuple(lost))

    def _write(self, lost: list[Claim], closed: list[Claim]) -> None:
        # Each part is forgotten once it is written: the next one may find the database gone.
        lost += record_epochs(self._slots, self._epochs)
        self._epochs = []
        lost += self._slots.finish(self._endings)
        closed += [claim for claim, _result in self._endings if claim not in lost]
        self._endings = []
        self._slots.release(self._released)
        closed += self._released
        self._released = []
