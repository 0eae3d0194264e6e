"""What one check has found."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Args:
        check: what was looked at.
        level: how bad it is.
        found: what is the case.
        advice: what to do; None where nothing needs to be done.
    """

    check: str
    level: Level
    found: str
    advice: str | None = None


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs nothing to be done."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return a finding that one should know of."""
    return Finding(check, Level.WARNING, found, advice)


def wrong(check: str, found: str, advice: str) -> Finding:
    """Return a finding with which nothing can be trained."""
    return Finding(check, Level.WRONG, found, advice)
