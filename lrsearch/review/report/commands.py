"""The commands that a report names, ready to be pasted into a shell."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Commands:
    """Commands about a study.

    Args:
        go_on: trains what is left of its budget.
        confirm: trains the best trials and baselines on fresh seeds; None where code of the user's trains.
        audit: trains stopped trials to their end; None where no command can train the task.
        report: writes the report.
        trials: prints all trials.
        storage: URL of the database without its password, where commands must name it; else None.
    """

    go_on: str
    confirm: str | None
    audit: str | None
    report: str
    trials: str
    storage: str | None = None
