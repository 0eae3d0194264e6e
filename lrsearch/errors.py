"""Every exception that lrsearch raises on purpose.

The tree, with the exit code of the command line in brackets::

    LrsearchError                  [1]
    ├── InputError (ValueError)    [2]  what the user gave cannot be used
    │   ├── SpecError                   a study file or an option breaks a rule
    │   ├── UnknownNameError            no task, study, sampler, ... of that name
    │   ├── StudyConflictError          a study of that name has another specification
    │   ├── BudgetSpentError            a study has no trial left to begin
    │   ├── StudyPausedError            a study is paused or stopped, and trains nothing until it is resumed
    │   ├── WorkerNameTakenError        a worker of that name is alive
    │   ├── WorkersFullError            a study has as many workers as it allows
    │   ├── DataError                   training data is missing and cannot be fetched
    │   ├── TaskError                   a task's model, loss, metrics or data cannot be trained with
    │   ├── CodeError                   a file or module that the user named cannot be imported
    │   ├── CodeNotAllowedError         it was not named or allowed by the user, so it is not imported
    │   ├── DeviceError                 the requested device does not exist
    │   ├── EngineError                 what places workers on machines is missing, or cannot place any
    │   └── DatabaseSetupError          the database cannot be used as it is
    ├── DivergenceError            [1]  a training left all bounds
    ├── DatabaseLostError          [1]  a database that worked stopped answering
    └── StudyStoppedError          [3]  the study ended early: its trials kept failing, or somebody stopped it
"""

from collections.abc import Iterable
from difflib import get_close_matches


class LrsearchError(Exception):
    """Root of all errors that lrsearch raises on purpose."""


class InputError(LrsearchError, ValueError):
    """Raised when something the user gave cannot be used."""


class SpecError(InputError):
    """Raised when a study file or an option breaks a rule."""


class UnknownNameError(InputError):
    """Raised when a name does not exist.

    Args:
        noun: what was looked up, such as ``"task"``.
        name: the name that was given.
        known: the names that exist.
    """

    def __init__(self, noun: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(f"unknown {noun} {name!r}.{suggestion(name, names)}")


class StudyConflictError(InputError):
    """Raised when a study exists under that name with another specification."""


class BudgetSpentError(InputError):
    """Raised when a trial is asked for and the study's budget has none left to begin."""


class StudyPausedError(InputError):
    """Raised when a study is to be trained that is paused or stopped."""


class WorkerNameTakenError(InputError):
    """Raised when a worker is to begin under the name of one that is alive."""


class WorkersFullError(InputError):
    """Raised when a worker is to join a study that has as many as it allows."""


class DataError(InputError):
    """Raised when training data is missing and cannot be fetched."""


class TaskError(InputError):
    """Raised when a task's model, loss, metrics or data cannot be trained with as they are."""


class CodeError(InputError):
    """Raised when a file or module that the user named cannot be imported, or has not what was named."""


class CodeNotAllowedError(InputError):
    """Raised instead of importing code that the user neither named on the command line nor allowed."""


class DeviceError(InputError):
    """Raised when the requested device does not exist on this machine."""


class EngineError(InputError):
    """Raised when an engine for many machines is missing or unreachable, or none of its workers can train."""


class DatabaseSetupError(InputError):
    """Raised when a database cannot be used as it is: unreachable, read-only, foreign or outdated."""


class DivergenceError(LrsearchError):
    """Raised when a training outside of a search leaves all bounds, so that its result is of no use."""


class DatabaseLostError(LrsearchError):
    """Raised when a database that worked before stops answering for longer than is waited."""


class StudyStoppedError(LrsearchError):
    """Raised when a study ends before its budget: its trials keep failing, or it was paused or stopped."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a sentence that helps after a wrong name: the nearest one, and all that exist."""
    names = list(known)
    same = [each for each in names if each.lower() == name.lower()]
    longer = [each for each in names if name and each.lower().startswith(name.lower())]
    nearest = same or longer or get_close_matches(name, names, n=1)
    guess = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{guess} Known: {', '.join(names)}." if names else f"{guess} There is none yet."
