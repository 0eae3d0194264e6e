"""Slots against a model of them: any sequence of claims, deaths and results ends as the model says."""

from dataclasses import dataclass
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from lrsearch.results import Claim, Outcome, TrialResult
from lrsearch.storage.database import Database
from lrsearch.storage.slot_rows import SlotCounts
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study
from lrsearch.storage.tables import SlotRow

MAX_RETRIES = 2
RESULT = TrialResult(Outcome.COMPLETE, value=1.0, epochs=1)


@dataclass
class Slot:
    """What one slot should be."""

    state: str = "free"
    attempt: int = 0
    deaths: int = 0
    expired: bool = False
    trial: int | None = None
    point: dict[str, int] | None = None


class SlotsMachine(RuleBasedStateMachine):
    """Any worker may do anything at any time, with claims as old as it likes."""

    database: Database
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        """Start with two slots of a study of one's own."""
        study = create_study(self.database, str(uuid4()), {}, trials=0)
        self.slots = Slots(self.database, study.uuid, max_retries=MAX_RETRIES)
        self.model: list[Slot] = []
        self.grow(2)

    @rule(total=st.integers(0, 5))
    def grow(self, total: int) -> None:
        """Enlarge the budget."""
        self.slots.grow(total)
        self.model += [Slot() for _ in range(total - len(self.model))]

    @rule(target=claims, limit=st.integers(0, 3))
    def claim(self, limit: int) -> object:
        """Claim what has expired, then what is free; what has expired too often fails."""
        for slot in self.model:
            if slot.expired and slot.deaths >= MAX_RETRIES:
                slot.state, slot.expired, slot.attempt = "told", False, slot.attempt + 1
        free = [index for index, slot in enumerate(self.model) if slot.state == "free"]
        expired = [index for index, slot in enumerate(self.model) if slot.expired]
        expected = []
        for index in sorted((expired + free)[:limit]):
            slot = self.model[index]
            slot.deaths += slot.expired
            slot.state, slot.expired, slot.attempt = "leased", False, slot.attempt + 1
            expected.append(Claim(index, slot.attempt, slot.point, slot.trial))
        assert self.slots.claim("worker", limit) == expected
        return multiple(*expected)

    @rule(claim=claims, trial=st.integers(0, 9))
    def bind(self, claim: Claim, trial: int) -> None:
        """Bind a trial."""
        held = self._holds(claim)
        assert self.slots.bind(claim, trial, {"lr": trial}) == held
        if held:
            self.model[claim.slot].trial, self.model[claim.slot].point = trial, {"lr": trial}

    @rule(some=st.lists(claims, max_size=3, unique_by=lambda claim: (claim.slot, claim.attempt)))
    def renew(self, some: list[Claim]) -> None:
        """Renew leases."""
        held = [claim for claim in some if self._holds(claim)]
        assert self.slots.renew(some) == held
        for claim in held:
            self.model[claim.slot].expired = False

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        """Give a slot back."""
        self.slots.release([claim])
        if self._holds(claim):
            self.model[claim.slot].state, self.model[claim.slot].expired = "free", False

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        """Store a result; a second time is as good as the first."""
        slot = self.model[claim.slot]
        stored = slot.attempt == claim.attempt and slot.state in ("leased", "done")
        assert self.slots.finish([(claim, RESULT)]) == ([] if stored else [claim])
        if stored:
            slot.state, slot.expired = "done", False

    @rule(point=st.integers(0, 9))
    def enqueue(self, point: int) -> None:
        """Prescribe a point."""
        blank = [
            index
            for index, slot in enumerate(self.model)
            if slot.state == "free" and slot.point is None and slot.trial is None
        ]
        assert self.slots.enqueue({"lr": point}) == (blank[0] if blank else None)
        if blank:
            self.model[blank[0]].point = {"lr": point}

    @rule()
    def expire(self) -> None:
        """Let every worker die."""
        leased = sa.update(SlotRow).where(
            SlotRow.state == "leased", SlotRow.study_uuid == self.slots.study_uuid
        )
        self.database.transaction(lambda connection: connection.execute(leased.values(lease_until=0.0)))
        for slot in self.model:
            slot.expired = slot.state == "leased"

    @invariant()
    def counts(self) -> None:
        """All slots are accounted for."""
        states = [slot.state for slot in getattr(self, "model", [])]
        expected = SlotCounts(*(states.count(state) for state in ("free", "leased", "told", "done")))
        if states:
            assert self.slots.counts() == expected

    def _holds(self, claim: Claim) -> bool:
        slot = self.model[claim.slot]
        return slot.state == "leased" and slot.attempt == claim.attempt


def test_slots_do_what_their_model_does(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any order of actions, by the present holder or a late one, on both databases."""
    monkeypatch.setattr("lrsearch.storage.slots.LOOK_S", 0.0)

    class Machine(SlotsMachine):
        pass

    Machine.database = database
    run_machine(Machine, settings=settings(max_examples=25, stateful_step_count=30))
