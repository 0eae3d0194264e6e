"""One run of a scenario: a study from its creation to what is wrong with it in the end."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.crew import Crew
from benchmarks.chaos.journal import begin_journal
from benchmarks.chaos.scenarios import DOWN_S, SCENARIOS, Stage, wait_for_workers
from benchmarks.chaos.violations import read_remains, unhurt, violations
from benchmarks.chaos.worker import Task
from benchmarks.postgresql import Server
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import StudySpec, spec_from
from lrsearch.storage.database import open_database

STUDY = "chaos"
LAST_S = 180.0


@dataclass(frozen=True)
class Ordeal:
    """What a study is put through.

    Args:
        scenario: name of what happens to its workers.
        workers: processes at once.
        trials: budget of the study.
        epochs: of a whole trial.
        epoch_s: seconds that an epoch takes.
        lanes: trials that a worker trains at once.
        checkpoint_every_s: seconds between two checkpoints of a worker, at least.
        every_s: seconds from one blow to the next.
        lease_s: seconds that a claim lasts without being renewed.
        down_s: seconds for which a server is stopped.
        late: whether it is stopped when no slot is free any more, and workers begin to wait for others.
        seed: of the study, and of the choice of victims.
    """

    scenario: str
    workers: int
    trials: int
    epochs: int = 20
    epoch_s: float = 0.08
    lanes: int = 2
    checkpoint_every_s: float = 0.3
    every_s: float = 1.0
    lease_s: float = 3.0
    down_s: float = DOWN_S
    late: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Aftermath:
    """How a run ended.

    Args:
        ordeal: what it was.
        blows: how many workers were killed or stopped.
        attempts: claims of slots.
        outcomes: number of slots by outcome.
        resumed: how often a trial that had lost its worker went on from a checkpoint.
        recovery_s: seconds from a blow to the claim by another worker, for each slot that was held.
        seconds: of the run.
        violations: all that is wrong, each in a line.
    """

    ordeal: Ordeal
    blows: int
    attempts: int
    outcomes: dict[str, int]
    resumed: int
    recovery_s: tuple[float, ...]
    seconds: float
    violations: tuple[str, ...]


def study_spec(ordeal: Ordeal) -> StudySpec:
    """Return the specification of the study."""
    content = {
        "name": STUDY,
        "task": "digits-mlp",
        "trials": ordeal.trials,
        "epochs": ordeal.epochs,
        "seed": ordeal.seed,
        "sampler": "tpe",
        "pruner": "median",
    }
    return resolved(spec_from(content, "benchmark"))


def run(ordeal: Ordeal, url: str, server: Server | None = None) -> Aftermath:
    """Run a study in an empty database.

    Args:
        ordeal: what it is put through.
        url: of the database.
        server: of the database, or None for SQLite.
    """
    spec = study_spec(ordeal)
    with tempfile.TemporaryDirectory() as folder, open_database(url) as database:
        open_study(database, spec)
        begin_journal(database)
        task = Task(
            url, STUDY, ordeal.lanes, ordeal.epoch_s, ordeal.lease_s, Path(folder), ordeal.checkpoint_every_s
        )
        crew = Crew(task, ordeal.seed, wrong_clocks=ordeal.scenario == "clock")
        begun = time.monotonic()
        try:
            crew.hire(ordeal.workers)
            stage = Stage(
                crew,
                ordeal.workers,
                url,
                server,
                ordeal.every_s,
                ordeal.lease_s,
                ordeal.trials,
                ordeal.down_s,
                ordeal.late,
            )
            wait_for_workers(stage)
            SCENARIOS[ordeal.scenario](stage)
            crew.wait(LAST_S)
        finally:
            crew.dismiss()
        seconds = time.monotonic() - begun
        remains = read_remains(url, database, spec, crew.hits, ordeal.lease_s)
        return Aftermath(
            ordeal,
            len(crew.hits),
            remains.attempts,
            dict(remains.outcomes),
            remains.resumed,
            tuple(remains.recovery_s()),
            seconds,
            (*crew.mishaps, *violations(remains), *unhurt(remains, crew.hits)),
        )
