"""The table of all trials, which the page's script sorts and filters."""

from html import escape

from lrsearch.review.report.colors import OUTCOMES
from lrsearch.review.report.html import paragraph
from lrsearch.review.report.trials import ShownStudy, ShownTrial, unix_seconds
from lrsearch.review.wording import number

MOST_ROWS = 2000
HEAD = ("trial", "ended", "loss", "epochs", "lr", "schedule and the rest", "seconds")
NUMERIC = {"trial", "loss", "epochs", "lr", "seconds"}


def trial_table(study: ShownStudy, print_all: str) -> str:
    """Return the section with the table of all trials, the best first.

    Args:
        study: whose trials.
        print_all: the command that prints all trials, for a table that leaves some out.
    """
    if not study.trials:
        return f'<section id="trials"><h2>All trials</h2>{paragraph("No trial has begun yet.")}</section>'
    trials = sorted(study.trials, key=_rank)
    note = ""
    if len(trials) > MOST_ROWS:
        note = paragraph(
            f"The best {MOST_ROWS:,} of {len(trials):,} trials; all of them: {print_all}", "note"
        )
    parts = [None] if study.parts == (None,) else list(study.parts)
    rows = "".join(_row(trial, parts[0]) for trial in trials[:MOST_ROWS])
    heads = "".join(_head(name) for name in HEAD)
    outcomes = "".join(
        f'<option value="{name}">{name} ({count})</option>' for name, count in study.counts.items()
    )
    return (
        '<section id="trials"><h2>All trials</h2>'
        '<div class="filter"><label>Find <input type="search" placeholder="words, such as WSD"></label>'
        f'<label>Ended <select><option value="">any way</option>{outcomes}</select></label>'
        f"<output>{min(len(trials), MOST_ROWS)} trials</output></div>{note}"
        f'<div class="scroll tall"><table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _rank(trial: ShownTrial) -> tuple[int, float, int]:
    order = ("complete", "stopped", "running", "diverged", "failed").index(trial.outcome)
    return order, trial.loss if trial.loss == trial.loss else 0.0, trial.number


def _head(name: str) -> str:
    kind = ' class="number"' if name in NUMERIC else ""
    return f'<th{kind} aria-sort="none"><button type="button">{name}</button></th>'


def _row(trial: ShownTrial, part: str | None) -> str:
    point = trial.points[part]
    began, ended = unix_seconds(trial.record.started_at), unix_seconds(trial.record.finished_at)
    seconds = ended - began if began is not None and ended is not None else None
    loss = (
        "diverged" if trial.outcome == "diverged" else number(trial.loss) if trial.loss == trial.loss else "-"
    )
    words = trial.words.removeprefix(f"lr {number(point.lr)}, ") + (
        f" ({trial.record.reason})" if trial.record.reason else ""
    )
    values: list[tuple[str, float | None]] = [
        (str(trial.number), trial.number),
        (trial.outcome, None),
        (loss, trial.loss if trial.loss == trial.loss else None),
        (str(trial.record.epochs), trial.record.epochs),
        (number(point.lr), point.lr),
        (words, None),
        (f"{seconds:.0f}" if seconds is not None else "-", seconds),
    ]
    cells = "".join(_cell(name, text, value) for name, (text, value) in zip(HEAD, values, strict=True))
    return f'<tr data-outcome="{trial.outcome}" style="--color: {OUTCOMES[trial.outcome]}">{cells}</tr>'


def _cell(name: str, text: str, value: float | None) -> str:
    """Return a cell; one of numbers says its value for sorting, ``""`` where it has none."""
    if name not in NUMERIC:
        return f"<td{_class(name)}>{escape(text)}</td>"
    return f'<td class="number" data-value="{"" if value is None else f"{value:.6g}"}">{escape(text)}</td>'


def _class(name: str) -> str:
    return {"ended": ' class="outcome"', "schedule and the rest": ' class="words"'}.get(name, "")
