"""How the standing of studies looks: a line for each, or one of them with its workers."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lrsearch.cli.display import duration
from lrsearch.review.wording import number
from lrsearch.service.overview import ENDED, StudyOverview
from lrsearch.storage.standings import EXPIRED, RUNNING, WorkerStanding

STUDY_COLUMNS = ("study", "state", "trials", "running", "workers", "rate", "time left", "best")
PRIORITY = "priority"
WORKER_COLUMNS = ("worker", "host", "device", "seen", "trials")


def picture_of_all(studies: Iterable[StudyOverview]) -> RenderableType:
    """Return a table with a line for each study; priorities only if one has any."""
    shown = list(studies)
    if not any(study.record.priority for study in shown):
        return _table(STUDY_COLUMNS, [_study_line(study) for study in shown])
    rows = [(*_study_line(study), str(study.record.priority)) for study in shown]
    return _table((*STUDY_COLUMNS, PRIORITY), rows)


def picture_of_one(study: StudyOverview) -> RenderableType:
    """Return a study's figures, and a table of its live workers."""
    lines = [Text(line) for line in _lines(study)]
    if not study.alive:
        return Group(*lines)
    return Group(*lines, Text(), _table(WORKER_COLUMNS, [_worker_line(each) for each in study.alive]))


def _study_line(study: StudyOverview) -> tuple[str, ...]:
    return (
        study.record.name,
        study.shown_state,
        f"{study.ended}/{study.budget}",
        str(study.trials[RUNNING]),
        _workers(study),
        _rate(study),
        duration(study.remaining_s),
        number(study.standing.best_value),
    )


def _lines(study: StudyOverview) -> list[str]:
    reason = f": {study.record.state_reason}" if study.record.state_reason else ""
    counts = [f"{study.trials[kind]} {kind}" for kind in ENDED if study.trials[kind]]
    ended = f"{study.ended} of {study.budget} have ended ({', '.join(counts) or 'none yet'})"
    lines = [
        f"Study {study.record.name} is {study.shown_state}{reason}",
        f"Trials: {ended}, {study.trials[RUNNING]} running",
    ]
    if study.trials[EXPIRED]:
        lines.append(
            f"        {study.trials[EXPIRED]} more are held by workers that are silent; others take them over"
        )
    lines.append(f"Best value: {number(study.standing.best_value)}")
    lines.append(f"Rate: {_rate(study)}, time left: {duration(study.remaining_s)}")
    lines.append(f"Priority: {study.record.priority}, workers: {_workers(study)}")
    lines.append(f"As of {datetime.now(UTC).isoformat(timespec='seconds')}")
    return lines


def _worker_line(worker: WorkerStanding) -> tuple[str, ...]:
    return (
        worker.name,
        worker.host,
        worker.device,
        f"{duration(worker.seen_s)} ago",
        str(worker.held),
    )


def _workers(study: StudyOverview) -> str:
    at_most = f" of {study.record.max_workers}" if study.record.max_workers is not None else ""
    return f"{len(study.alive)}{at_most}"


def _rate(study: StudyOverview) -> str:
    rate = study.rate_per_min
    if rate is None:
        return "-"
    return f"{number(rate)}/min" if rate >= 1 else f"{number(60 * rate)}/h"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for index, column in enumerate(columns):
        # A name is kept whole: it is what the user copies.
        table.add_column(column, overflow="fold", no_wrap=index > 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
