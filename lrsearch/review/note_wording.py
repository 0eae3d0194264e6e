"""What a study has found, in Markdown: the note on its page in Optuna's dashboard."""

from collections import Counter
from collections.abc import Mapping

from lrsearch.results import Outcome, TrialRecord
from lrsearch.review.advice import NO_TASK, how_to_confirm
from lrsearch.review.facts import StudyFacts
from lrsearch.review.markdown import code, code_block, escaped
from lrsearch.review.verdict import verdict
from lrsearch.review.winner import winner
from lrsearch.review.wording import described_parts, number, pytorch_lines
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import hyperparameters_by_part

_ENDED = {outcome.value for outcome in Outcome}
_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "stopped early by the pruner",
    "DIVERGED": "diverged",
    "FAIL": "failed",
}


def study_note(facts: StudyFacts) -> str:
    """Return what a study has found, in Markdown.

    What users name stands in code or is escaped, so that it is neither Markdown nor HTML.
    """
    trials = _trials(facts)
    best = _best(facts)
    if best is None:
        return f"No trial is complete yet.\n\n{trials}\n"
    points = hyperparameters_by_part(facts.spec, best.params)
    title = f"**Best trial: {best.number}**, validation loss {number(best.value)}"
    found = winner(facts.spec, facts.trials, facts.confirmation) if facts.spec.parts is None else None
    if found is not None and found.standing is not None:
        points, title = {None: found.hyperparameters}, f"**Winner: {escaped(found.name)}**"
    words = described_parts(points, facts.spec.optimizer.name)
    parts = [
        title,
        code(f"{facts.spec.optimizer.name}, {words}"),
        _trust(facts),
        trials,
        *_pytorch(facts, points),
    ]
    return "\n\n".join(parts) + "\n"


def _best(facts: StudyFacts) -> TrialRecord | None:
    complete = [trial for trial in facts.trials if trial.state == "COMPLETE" and trial.value is not None]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def _trust(facts: StudyFacts) -> str:
    """Return how far the best trial can be trusted: what a confirmation says, or that there is none."""
    if facts.confirmation is not None:
        return escaped(verdict(facts.confirmation).sentence)
    how = how_to_confirm(facts.spec)
    if how is None:
        return f"The best trial is the luckiest run of the search, and {NO_TASK}."
    return f"The best trial is the luckiest run of the search, until {code(how)} confirms it on fresh seeds."


def _trials(facts: StudyFacts) -> str:
    ended = [trial for trial in facts.trials if trial.state in _ENDED]
    counts = Counter("DIVERGED" if trial.diverged else trial.state for trial in ended)
    listed = ", ".join(f"{counts[state]} {words}" for state, words in _WORDS.items() if counts[state])
    sentence = f"{len(ended)} of {facts.spec.trials} trials have ended: {listed or 'none'}."
    return f"{sentence}{_saved(facts, ended)}"


def _saved(facts: StudyFacts, ended: list[TrialRecord]) -> str:
    pruned = [trial for trial in ended if trial.state == "PRUNED" and not trial.diverged]
    epochs = facts.spec.epochs
    if not pruned or epochs is None:
        return ""
    saved, whole = sum(epochs - trial.epochs for trial in pruned), epochs * len(ended)
    return f" Pruning saved {saved} of {whole} epochs ({saved / whole:.0%})."


def _pytorch(facts: StudyFacts, points: Mapping[str | None, Hyperparameters]) -> list[str]:
    """Return the lines of PyTorch, where the length of an epoch is known and all trains as one."""
    spec, steps = facts.spec, facts.steps_per_epoch
    if steps is None or spec.parts is not None:
        return []
    epochs = spec.epochs or 1
    lines = pytorch_lines(spec.optimizer.name, points[None], epochs, steps)
    return [f"In PyTorch, for {epochs} epochs of {steps} updates:", code_block("python", "\n".join(lines))]
