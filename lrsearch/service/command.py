"""Runs a training script of the user's as the trials of a study, a process for each."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from lrsearch.errors import InputError
from lrsearch.results import Outcome
from lrsearch.service.external import ExternalTrial, next_trial
from lrsearch.service.progress import EndedTrial, Progress, StopReason
from lrsearch.service.studies import OpenStudy
from lrsearch.service.trial_files import REPORT_FILE, TERMINATED, TRIAL_FILE, Report, ask_to_stop, read_line
from lrsearch.service.worker import Worker
from lrsearch.storage.database import Database
from lrsearch.storage.slots import LEASE_S

POLL_S = 0.1
WAIT_S = 0.5
GRACE_S = 10.0
LONGEST_REASON = 500
STANDARD_ERROR = 2
STORAGE_VARIABLE = "LRSEARCH_STORAGE"  # may hold a password, and the script needs no database


class CommandWorker:
    """One worker's part in a study: claims slots one after the other, and runs the command for each.

    Args:
        database: where the study is stored.
        study: the study, opened.
        command: the program and its arguments.
        grace_s: time between SIGTERM and SIGKILL for a script that is to stop, in seconds.
        lease_s: how long this worker's claims last without being renewed, in seconds.
        prints_apart: whether what the script prints goes to the standard error, as the standard output is for
            what this worker says.
    """

    def __init__(
        self,
        database: Database,
        study: OpenStudy,
        command: Sequence[str],
        grace_s: float = GRACE_S,
        lease_s: float = LEASE_S,
        *,
        prints_apart: bool = False,
    ) -> None:
        self.study = study
        self._prints_apart = prints_apart
        self._command, self._grace_s = list(command), grace_s
        self._worker = Worker(database, study, f"command {Path(command[0]).name}", lease_s)
        self._terminated = False  # somebody else has ended a script by SIGTERM

    def run(
        self, stop_requested: Callable[[], bool] = lambda: False, trials: int | None = None
    ) -> Iterator[Progress]:
        """Run scripts until the budget is used up, and yield where the study stands, epoch by epoch.

        A script that ends by a SIGTERM of somebody else (a machine that shuts down, a job's time limit) says
        nothing about its trial: the trial is given back, and the worker stops too.

        Args:
            stop_requested: asked all the time; true stops the script and releases its slot.
            trials: how many this worker runs at most, or None.
        """
        begun = 0
        with self._worker:
            while (reason := self._reason_to_stop(stop_requested)) is None:
                if trials is not None and begun >= trials:
                    reason = StopReason.LIMIT
                    break
                trial = next_trial(self._worker)
                if trial is None:
                    self._worker.catch_up(running=())
                    yield self._worker.progress([])
                    time.sleep(WAIT_S)
                    continue
                begun += 1
                yield self._worker.progress([trial.shown])
                ended = yield from self._train(trial, stop_requested)
                if ended is not None:
                    yield self._worker.progress([], [ended])
        yield replace(self._worker.progress([]), stopped=reason)

    def _reason_to_stop(self, stop_requested: Callable[[], bool]) -> StopReason | None:
        reason = self._worker.reason_to_stop(stop_requested, busy=False)
        if self._terminated and reason is not StopReason.INTERRUPTED:
            return StopReason.TERMINATED
        if reason is StopReason.BUDGET:
            self._worker.catch_up(running=())
        return reason

    def _train(
        self, trial: ExternalTrial, stop_requested: Callable[[], bool]
    ) -> Generator[Progress, None, EndedTrial | None]:
        """Run the script for a trial, and return how it ended; None if it was given back."""
        with TemporaryDirectory(prefix="lrsearch-") as folder:
            files = {TRIAL_FILE: Path(folder) / "trial.json", REPORT_FILE: Path(folder) / "reports.jsonl"}
            trial.assignment.write(files[TRIAL_FILE])
            files[REPORT_FILE].touch()
            with Script(self._command, files, self._grace_s, prints_apart=self._prints_apart) as script:
                reports = _Reports(trial, files[REPORT_FILE])
                while script.running and not reports.stopped:
                    if self._worker.reason_to_stop(stop_requested, busy=True):
                        script.stop()
                        trial.release()
                        return None
                    if reports.read():
                        yield self._worker.progress([trial.shown])
                    time.sleep(POLL_S)
                if reports.stopped:
                    script.stop()
                failure = script.end()
            reports.read(to_end=True)
            if script.terminated and not (reports.stopped or reports.ended):
                self._terminated = True
                trial.release()
                return None
            return trial.finish(reports.failure or (None if reports.complete else failure))


class Script:
    """A running command whose error output passes through and is remembered; as a context it ends with it.

    Args:
        command: the program and its arguments.
        files: paths that it gets as environment variables, by name.
        grace_s: time between SIGTERM and SIGKILL, in seconds.
        prints_apart: whether what it prints goes to the standard error.
    """

    def __init__(
        self, command: Sequence[str], files: Mapping[str, Path], grace_s: float, *, prints_apart: bool = False
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if name != STORAGE_VARIABLE}
        environment |= {name: str(path) for name, path in files.items()}
        self._grace_s, self._report_file = grace_s, files[REPORT_FILE]
        self._asked_to_stop = False
        self._last_line = ""
        self._process = subprocess.Popen(  # a session of its own: Ctrl-C reaches the worker alone
            list(command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=STANDARD_ERROR if prints_apart else None,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._watcher = threading.Thread(target=self._watch, args=(self._process.stderr,), daemon=True)
        self._watcher.start()

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_error: object) -> None:
        if self.running:
            self._signal(signal.SIGKILL)
        self._process.wait()
        self._watcher.join(timeout=1.0)  # a process that the script left behind may hold the pipe open

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def terminated(self) -> bool:
        """Whether it has ended by a SIGTERM that was not sent by :meth:`stop`."""
        return not self._asked_to_stop and self._process.poll() in {-signal.SIGTERM, TERMINATED}

    def stop(self) -> None:
        """End the script and the processes that it started: SIGTERM, and SIGKILL after the grace period."""
        self._asked_to_stop = True
        ask_to_stop(self._report_file)
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace_s)
        self._signal(signal.SIGKILL)

    def end(self) -> str | None:
        """Wait for its end, and return why it failed; None if its exit code is 0."""
        code = self._process.wait()
        self._watcher.join(timeout=1.0)
        if code == 0:
            return None
        what = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        return f"{what}: {self._last_line}" if self._last_line else what

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # all of them have ended
            os.killpg(self._process.pid, number)

    def _watch(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode(errors="replace")
            sys.stderr.write(text)
            sys.stderr.flush()
            self._last_line = text.strip()[:LONGEST_REASON] or self._last_line
        stream.close()


class _Reports:
    """Follows a report file and tells the trial what it says.

    Args:
        trial: that is told.
        path: of the file.
    """

    def __init__(self, trial: ExternalTrial, path: Path) -> None:
        self._trial, self._path = trial, path
        self._offset, self._lines = 0, 0
        self.failure: str | None = None
        self.stopped = False  # whether the script is to end: pruned, diverged, lost, or nonsense reported
        self.complete = False  # whether its training is over, whatever the script comes to afterwards
        self.ended = False  # whether the script itself has said how the trial ended

    def read(self, *, to_end: bool = False) -> bool:
        """Tell the trial all whole lines that are new, and return whether there were any.

        Args:
            to_end: whether a last line without its end counts: the script writes no more.
        """
        lines = self._new_lines(to_end=to_end)
        for line in lines:
            self._lines += 1
            if self.stopped:
                break
            try:
                self._take(read_line(self._lines, line))
            except InputError as error:
                self.failure, self.stopped = str(error), True
        return bool(lines)

    def _new_lines(self, *, to_end: bool) -> list[str]:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        if not to_end:
            content = content[: content.rfind(b"\n") + 1]
        self._offset += len(content)
        return [line for line in content.decode(errors="replace").splitlines() if line.strip()]

    def _take(self, content: dict[str, Any]) -> None:
        if "state" in content:
            self._end(content)
        elif "steps_per_epoch" in content and "epoch" not in content:
            self._trial.built(content["steps_per_epoch"], content.get("part"))
        else:
            self.stopped = self._trial.report(Report.of(content)) is not None

    def _end(self, content: dict[str, Any]) -> None:
        if content["state"] == Outcome.PRUNED.value:
            self._trial.prune()
        elif content["state"] == Outcome.FAIL.value:
            self.failure = str(content.get("reason"))
        elif content["state"] == Outcome.COMPLETE.value:
            self.complete = True
        else:
            raise InputError(
                f"state of a report must be COMPLETE, PRUNED or FAIL, but got {content['state']!r}"
            )
        self.ended = True


def split_command(text: str) -> list[str]:
    """Return the words of a command, as a shell splits them; no shell runs it.

    Raises:
        InputError: if it is empty, a quote is not closed, or there is no such program.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--command {text!r}: {error}") from None
    if not words:
        raise InputError('--command is empty; give the command that trains, such as "python train.py"')
    if shutil.which(words[0]) is None:
        raise InputError(
            f"--command: there is no program {words[0]!r}. No shell runs the command; what needs one is "
            "written as --command \"sh -c '...'\""
        )
    return words
