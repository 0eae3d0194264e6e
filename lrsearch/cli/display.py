"""How a running search looks: a live view, plain lines, JSON lines, or nothing."""

import json
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrsearch.review.listing import finite
from lrsearch.review.wording import described_parts, number
from lrsearch.schedules import Hyperparameters
from lrsearch.service.progress import EndedTrial, Progress, RunningTrial

SHOWN_LANES = 12


class Display(Protocol):
    """Shows progress while it is open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self, text: str) -> None:
        """Show what the user should know."""
        ...

    def show(self, progress: Progress) -> None:
        """Show where the study stands."""
        ...


class _Closing:
    """A display that needs neither opening nor closing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class QuietDisplay(_Closing):
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def show(self, progress: Progress) -> None:
        """Do nothing."""


class PlainDisplay(_Closing):
    """A line for every trial that ends: for logs and pipes."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._waited = False

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def show(self, progress: Progress) -> None:
        """Print the trials that have just ended."""
        for text in progress.notes:
            self.note(text)
        for trial in progress.news:
            self._console.print(
                f"{_ended_line(trial, progress.optimizer)}  [{_standing(progress)}]", markup=False
            )
        if progress.waiting and not progress.news and not self._waited and progress.stopped is None:
            self._console.print(_WAITING, markup=False)
        self._waited = progress.waiting and not progress.news


class JsonDisplay(_Closing):
    """A JSON object a line: ``note``, ``epoch`` for a lane, ``trial`` for an end, ``stopped`` at the last.

    Each has its time, in UTC, and where they apply study, worker, trial and attempt.

    Epochs of other worker processes arrive a few times a second: of short ones some are left out.

    Args:
        study: its name.
    """

    def __init__(self, study: str = "") -> None:
        self._epochs: dict[int, int] = {}  # printed last, by trial
        self._context: dict[str, Any] = {"study": study} if study else {}

    def note(self, text: str) -> None:
        """Print a line."""
        _print_json("note", **self._context, text=text)

    def show(self, progress: Progress) -> None:
        """Print what has happened since the last call."""
        self._context = _context(progress)
        for text in progress.notes:
            self.note(text)
        for lane in progress.running:
            self._print_epoch(lane, lane.epoch, lane.valid_loss)
        for trial in progress.news:
            result = trial.result
            if trial.number in self._epochs:  # one that only repeats another has not been trained
                self._print_epoch(trial, result.epochs, result.value)
            _print_json(
                "trial",
                **self._trial_context(trial),
                number=trial.number,
                state=result.outcome.value,
                value=result.value,
                diverged=result.diverged,
                epochs=result.epochs,
                params=_params(trial),
                reason=result.reason,
            )
        _print_stopped(progress)

    def _print_epoch(self, trial: RunningTrial | EndedTrial, epoch: int, valid_loss: float | None) -> None:
        if epoch > self._epochs.setdefault(trial.number, 0):
            self._epochs[trial.number] = epoch
            _print_json("epoch", **self._trial_context(trial), epoch=epoch, valid_loss=valid_loss)

    def _trial_context(self, trial: RunningTrial | EndedTrial) -> dict[str, Any]:
        """Return which trial of which study it is, and who trains it."""
        holder = trial.holder
        held = {} if holder is None else {"worker": holder.worker, "attempt": holder.attempt}
        unheld = {name: value for name, value in self._context.items() if name != "worker"}
        return {**unheld, "trial": trial.number, **held}


def _params(trial: EndedTrial) -> dict[str, Any]:
    """Return a trial's parameters by canonical name, those of a part behind its name."""
    if not trial.parts:
        return trial.hyperparameters.to_point()
    points = {part: each.to_point() for part, each in trial.parts.items()}
    return {f"{part}/{name}": value for part, point in points.items() for name, value in point.items()}


class JsonResultDisplay(QuietDisplay):
    """The JSON object ``stopped`` alone."""

    def show(self, progress: Progress) -> None:
        """Print the last value."""
        _print_stopped(progress)


class LiveDisplay:
    """A bar over the budget, the best value so far and the running lanes, redrawn in place."""

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
        self._begun: set[int] = set()  # trials

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._live.console.print(text, markup=False, highlight=False)

    def show(self, progress: Progress) -> None:
        """Redraw: at once when a trial has begun or ended, else with the next of four pictures a second."""
        for text in progress.notes:
            self.note(text)
        for trial in progress.news:
            self._live.console.print(
                _ended_line(trial, progress.optimizer),
                markup=False,
                highlight=False,
                overflow="ellipsis",
                no_wrap=True,
            )
        began = {lane.number for lane in progress.running} - self._begun
        self._begun |= began
        self._live.update(_picture(progress), refresh=bool(began or progress.news))


def choose_display(*, quiet: bool, log_format: str, study: str = "") -> Display:
    """Return the display for an output: live on a terminal, plain lines elsewhere."""
    if log_format == "json":
        return JsonResultDisplay() if quiet else JsonDisplay(study)
    if quiet:
        return QuietDisplay()
    return LiveDisplay() if sys.stderr.isatty() else PlainDisplay()


_WAITING = "waiting for the trials of other workers; those of one that died become free within four minutes"


def _ended_line(trial: EndedTrial, optimizer: str | None) -> str:
    result = trial.result
    state = "DIVERGED" if result.diverged else result.outcome.value
    reason = f"  ({result.reason})" if result.reason else ""
    value = number(result.value)
    epochs = f"{result.epochs} epoch{'s' if result.epochs != 1 else ''}"
    words = _described(trial, optimizer)
    return f"trial {trial.number:>3}  {state:<8}  {value:>7}  {epochs:>9}  {words}{reason}"


def _described(trial: EndedTrial | RunningTrial, optimizer: str | None) -> str:
    parts: dict[str | None, Hyperparameters] = {None: trial.hyperparameters}
    if trial.parts:
        parts = {name: trial.parts[name] for name in trial.parts}
    return described_parts(parts, optimizer)


def _standing(progress: Progress) -> str:
    best = f"best {number(progress.best.result.value)}" if progress.best else "no complete trial yet"
    left = f", {duration(progress.remaining_s)} left" if progress.remaining_s else ""
    return f"{progress.ended_trials}/{progress.trials}, {best}{left}"


def _picture(progress: Progress) -> RenderableType:
    parts: list[RenderableType] = [_bar(progress)]
    if progress.best:
        best = progress.best
        parts.append(
            Text.assemble(
                ("best ", "bold"),
                (number(best.result.value), "bold green"),
                f"  trial {best.number}: {_described(best, progress.optimizer)}",
            )
        )
    if progress.waiting:
        parts.append(Text(_WAITING, style="yellow"))
    parts.append(_lanes(progress))
    return Group(*parts)


def _bar(progress: Progress) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    done = progress.ended_trials + sum(lane.epoch for lane in progress.running) / progress.epochs
    left = f"{duration(progress.remaining_s)} left" if progress.remaining_s else ""
    counts = ", ".join(f"{count} {name}" for name, count in progress.counts.items())
    row.add_row(
        ProgressBar(total=progress.trials, completed=done, width=40),
        f"{progress.ended_trials}/{progress.trials} trials",
        counts,
        left,
    )
    return row


def _lanes(progress: Progress) -> RenderableType:
    running = progress.running
    table = Table(
        "trial", "epoch", "valid loss", "hyperparameters", box=None, header_style="dim", padding=(0, 2)
    )
    for lane in running[:SHOWN_LANES]:
        table.add_row(
            str(lane.number),
            f"{lane.epoch}/{progress.epochs}",
            number(lane.valid_loss),
            Text(_described(lane, progress.optimizer), overflow="ellipsis", no_wrap=True),
        )
    if len(running) > SHOWN_LANES:
        table.add_row("...", "", "", f"and {len(running) - SHOWN_LANES} more")
    return table


def duration(seconds: float | None) -> str:
    """Return a span of time as people say it, such as ``2 min 5 s``."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _print_stopped(progress: Progress) -> None:
    if progress.stopped is None:
        return
    best = progress.best
    values = {"number": best.number, "value": best.result.value} if best else None
    _print_json(
        "stopped", **_context(progress), reason=progress.stopped.name, ended=dict(progress.ended), best=values
    )


def _context(progress: Progress) -> dict[str, Any]:
    """Return study and worker, where they are known."""
    known = {"study": progress.study, "worker": progress.worker}
    return {name: value for name, value in known.items() if value}


def _print_json(event: str, **values: Any) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"event": event, "time": now, **finite(values)}
    print(json.dumps(line, allow_nan=False), flush=True)  # noqa: T201 # the output
