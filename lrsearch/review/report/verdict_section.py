"""The first section: what to use, how good it is, what it cost, and the lines of PyTorch."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from lrsearch.errors import LrsearchError
from lrsearch.retrainings import Confirmation
from lrsearch.review.advice import NO_TASK, without_complete_trial
from lrsearch.review.checks import checks
from lrsearch.review.confirmation_wording import candidate_words
from lrsearch.review.report.commands import Commands
from lrsearch.review.report.html import code_block, command, paragraph
from lrsearch.review.report.trials import ShownStudy, ShownTrial
from lrsearch.review.verdict import (
    Estimate,
    Standing,
    Verdict,
    baseline_as_good,
    better_rivals,
    optimism_text,
    p_text,
    verdict,
)
from lrsearch.review.wording import capital, number, pytorch_lines
from lrsearch.schedules import Hyperparameters

MOST_DECIMALS = 9


def verdict_section(study: ShownStudy, commands: Commands) -> str:
    """Return the section: of a confirmation, else of the search alone."""
    confirmation = study.facts.confirmation
    found = (
        _unconfirmed(study, commands) if confirmation is None else _confirmed(study, confirmation, commands)
    )
    return f'<section id="verdict">{found}{_cost(study)}</section>'


def code_of(
    study: ShownStudy, points: Mapping[str | None, Hyperparameters], optimizer: str | None = None
) -> str:
    """Return the lines of PyTorch of a point, with their import; empty where they cannot be written.

    Args:
        study: whose epochs are meant.
        points: hyperparameters by part.
        optimizer: class of the optimizer; None for the study's.
    """
    steps = study.facts.steps_per_epoch
    if steps is None:
        return ""
    lines = ["import torch"]
    for part, point in points.items():
        try:
            written = pytorch_lines(optimizer or study.spec.optimizer.name, point, study.epochs, steps)
        except LrsearchError:
            return ""
        lines += ["", *([f"# {part}"] if part is not None else []), *written]
    return "\n".join(lines) + "\n"


def _confirmed(study: ShownStudy, confirmation: Confirmation, commands: Commands) -> str:
    found = verdict(confirmation)
    winner = found.winner
    reporting = len(confirmation.seeds) - confirmation.selecting
    title = "Best on the selecting seeds" if baseline_as_good(found) else "Winner"
    head = _hero(study, winner, reporting, title) if winner else ""
    notes = "".join(paragraph(f"{capital(note)}.", "note") for note in confirmation.notes)
    return (
        f"<h2>Verdict</h2>{head}{paragraph(found.sentence, 'lead')}{_optimism(found)}"
        f"<h3>Standings</h3>{_standings(study, found)}{_how(confirmation)}{notes}"
        f"{_doubts(checks(study.spec, study.facts.trials, confirmation, commands.storage))}"
        f"{_winners_code(study, winner)}{_others_code(study, found)}"
    )


def _doubts(doubts: Sequence[str]) -> str:
    if not doubts:
        return ""
    items = "".join(f"<li>{escape(doubt)}</li>" for doubt in doubts)
    return f'<div class="warning"><p><strong>What makes it doubtful</strong></p><ul>{items}</ul></div>'


def _winners_code(study: ShownStudy, winner: Standing | None) -> str:
    title = f"{capital(winner.candidate.name)}, in PyTorch" if winner else ""
    return _code(study, {None: _point(study, winner)}, title) if winner else ""


def _others_code(study: ShownStudy, found: Verdict) -> str:
    """Return the lines of PyTorch of a baseline not shown to be worse, and of rivals shown to be better."""
    baseline = baseline_as_good(found)
    others = [] if baseline is None else [baseline]
    codes = {
        each.candidate.name: code_of(study, {None: _point(study, each)}, each.candidate.optimizer)
        for each in (*others, *better_rivals(found))
    }
    return "".join(
        f"<h3>{escape(capital(name))}, in PyTorch</h3>{code_block(code, 'the lines of PyTorch')}"
        for name, code in codes.items()
        if code
    )


def _unconfirmed(study: ShownStudy, commands: Commands) -> str:
    best = study.best
    if best is None:
        return f"<h2>No winner yet</h2>{paragraph(_why_none(study, commands), 'lead')}"
    figures = [("validation loss", number(best.loss)), *_metrics(study, best)]
    tiles = "".join(_tile(name, value) for name, value in figures)
    return (
        f'<h2>Verdict</h2><div class="hero"><p class="who">Best trial: trial {best.number}</p>'
        f'<p class="what">{escape(best.words)}</p><div class="tiles">{tiles}</div></div>'
        '<div class="warning"><p><strong>Not confirmed.</strong> This is the best of '
        f"{len(study.ended)} trials on one seed: the luckiest run of a search looks better than it is. "
        f"{_how_to_confirm(commands)}</div>"
        f"{_code(study, best.points)}"
    )


def _how_to_confirm(commands: Commands) -> str:
    if commands.confirm is None:
        return f"{escape(capital(NO_TASK))}.</p>"
    return f"Train the best trials and baselines on fresh seeds:</p>{command(commands.confirm)}"


def _why_none(study: ShownStudy, commands: Commands) -> str:
    words = {"pruned": "stopped", "diverged": "diverged", "fail": "failed"}
    counts = {name: study.counts[outcome] for name, outcome in words.items()}
    why = without_complete_trial(study.spec, counts, commands.go_on)
    return capital(why)


def _hero(study: ShownStudy, winner: Standing, seeds: int, title: str) -> str:
    figures = [("validation loss", winner.valid_loss), *_other_figures(winner)] if winner.valid_loss else []
    tiles = "".join(
        _tile(name, number(found.mean), f"{number(found.low)} to {number(found.high)}")
        for name, found in figures
    )
    note = f"mean of {seeds} fresh seed{'' if seeds == 1 else 's'}, with its 95% interval" if figures else ""
    words = candidate_words(winner.candidate, study.spec)
    return (
        f'<div class="hero"><p class="who">{title}: {escape(winner.candidate.name)}</p>'
        f'<p class="what">{escape(words)}</p><div class="tiles">{tiles}</div>{paragraph(note, "note")}</div>'
    )


def _point(study: ShownStudy, standing: Standing) -> Hyperparameters:
    return Hyperparameters.from_point(standing.candidate.point, study.spec.frozen)


def _other_figures(standing: Standing) -> list[tuple[str, Estimate]]:
    return [(name.replace("_", " "), estimate) for name, estimate in standing.figures.items()]


def _metrics(study: ShownStudy, trial: ShownTrial) -> list[tuple[str, str]]:
    epochs = study.facts.curves.get(trial.number, ())
    metrics = epochs[-1].metrics if epochs else {}
    return [
        (name.replace("valid_", "validation ").replace("_", " "), number(value))
        for name, value in metrics.items()
    ]


def _tile(name: str, value: str, below: str = "") -> str:
    under = f"<small>{escape(below)}</small>" if below else ""
    return f'<div class="tile"><span>{escape(name)}</span><strong>{escape(value)}</strong>{under}</div>'


def _optimism(found: Verdict) -> str:
    text = optimism_text(found)
    return "" if text is None else paragraph(f"{capital(text)}.", "note")


def _standings(study: ShownStudy, found: Verdict) -> str:
    tests = list(dict.fromkeys(name for each in found.standings for name in each.figures))
    losses = [each.valid_loss.mean for each in found.standings if each.valid_loss]
    decimals = _decimals(min(losses, default=1.0))
    heads = [
        "validation loss",
        *(name.replace("_", " ") for name in tests),
        "above the winner",
        "p",
    ]
    cells = "".join(f'<th class="number">{escape(head)}</th>' for head in heads)
    rows = "".join(_row(study, each, tests, decimals) for each in found.by_loss)
    return (
        f'<div class="scroll"><table class="standings"><thead><tr><th>candidate</th>{cells}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(study: ShownStudy, standing: Standing, tests: Sequence[str], decimals: int) -> str:
    words = candidate_words(standing.candidate, study.spec)
    compared = standing.comparison
    p = p_text(compared.p).removeprefix("p ").removeprefix("= ") if compared else "-"
    lost = f"{standing.lost} run{'' if standing.lost == 1 else 's'} lost" if standing.lost else ""
    loss = f'<td class="number">{lost}</td>'
    if standing.valid_loss:
        loss = _estimate(standing.valid_loss, decimals)
        words = f"{words}; {lost}" if lost else words
    figures = "".join(_estimate(standing.figures.get(name), 4) for name in tests)
    return (
        f'<tr><td class="candidate"><b>{escape(standing.candidate.name)}</b><small>{escape(words)}</small>'
        f"</td>{loss}{figures}"
        f"{_estimate(compared.difference if compared else None, decimals)}"
        f'<td class="number">{escape(p)}</td></tr>'
    )


def _estimate(found: Estimate | None, decimals: int) -> str:
    """Return a cell with a mean and, below it, its interval, all with as many decimals."""
    if found is None:
        return '<td class="number">-</td>'
    mean, low, high = (f"{value:.{decimals}f}" for value in (found.mean, found.low, found.high))
    return f'<td class="number">{mean}<small>{low} to {high}</small></td>'


def _decimals(loss: float) -> int:
    """Return how many decimals show four digits of a loss."""
    return min(max(3 - math.floor(math.log10(abs(loss))), 0), MOST_DECIMALS) if loss else 4


def _how(confirmation: Confirmation) -> str:
    selecting, reporting = confirmation.selecting, len(confirmation.seeds) - confirmation.selecting
    return paragraph(
        f"{len(confirmation.candidates)} candidates, {confirmation.epochs} epochs each, on "
        f"{len(confirmation.seeds)} fresh seeds: {selecting} chose the winner, the other {reporting} give "
        "the figures above. Differences are paired by seed; p by a paired t test, corrected for all "
        "comparisons (Holm).",
        "note",
    )


def _code(study: ShownStudy, points: Mapping[str | None, Hyperparameters], title: str = "In PyTorch") -> str:
    code = code_of(study, points)
    if not code:
        reason = (
            "The lines of PyTorch need the number of updates in an epoch, which this study does not know."
            if study.facts.steps_per_epoch is None
            else "These hyperparameters cannot be written as lines of PyTorch here."
        )
        return f"<h3>{escape(title)}</h3>{paragraph(reason, 'note')}"
    batches = (
        "" if study.spec.batch_size is None else f" in batches of {study.spec.batch_size}, drop_last=True"
    )
    note = f"For {study.epochs} epochs of {study.facts.steps_per_epoch} updates{batches}; model is yours."
    return f"<h3>{escape(title)}</h3>{code_block(code, 'the lines of PyTorch')}{paragraph(note, 'note')}"


def _cost(study: ShownStudy) -> str:
    counts, budget = study.counts, study.epochs * len(study.ended)
    ended = ", ".join(
        f"{counts[name]} {name}" for name in ("complete", "stopped", "diverged", "failed") if counts[name]
    )
    saved = f"{study.epochs_saved / budget:.0%} of {budget:,}" if budget else ""
    lost = budget - study.epochs_trained - study.epochs_saved
    if lost > 0 and counts["diverged"] + counts["failed"]:
        saved += f"; {lost:,} more were left when trials diverged or failed"
    tiles = [
        _tile("trials ended", f"{len(study.ended)} of {study.spec.trials}", ended),
        _tile("epochs trained", f"{study.epochs_trained:,}"),
        _tile("epochs saved by pruning", f"{study.epochs_saved:,}", saved),
        _tile("time of training", duration(study.clock.total_s), "pauses between runs left out"),
    ]
    return f'<h3>What the search cost</h3><div class="tiles cost">{"".join(tiles)}</div>'


def duration(seconds: float) -> str:
    """Return a time in words, such as ``39 s`` or ``1 h 04 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
