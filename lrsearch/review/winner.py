"""Which point of a study to use: the one that was confirmed, else the best complete trial."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.results import TrialRecord
from lrsearch.retrainings import Candidate, Confirmation, same_point
from lrsearch.review.listing import TRIAL_FIELDS, trial_rows
from lrsearch.review.verdict import Standing, nearest_baseline, verdict
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import EXTERNAL, StudySpec, hyperparameters


@dataclass(frozen=True)
class Winner:
    """A point of a study that is worth training with.

    Args:
        name: how it is called: ``trial 12``, or what a baseline is.
        trial: its number in the study; None for a baseline.
        hyperparameters: all of them.
        value: validation loss that the search found for it; None for a baseline, and for a trial that was
            stopped early.
        standing: how it did on fresh seeds; None where it was not confirmed.
        sentence: the verdict of the confirmation in words; empty where it was not confirmed.
    """

    name: str
    trial: int | None
    hyperparameters: Hyperparameters
    value: float | None
    standing: Standing | None = None
    sentence: str = ""


def winner(
    spec: StudySpec, trials: Iterable[TrialRecord], confirmation: Confirmation | None
) -> Winner | None:
    """Return the winner of a study without parts: the confirmation's, else the best complete trial.

    Args:
        spec: resolved specification.
        trials: of the study.
        confirmation: the newest, or None.

    Returns:
        The winner; None if no trial is complete.
    """
    said = verdict(confirmation) if confirmation is not None else None
    if said is not None and said.winner is not None:
        return _confirmed(spec, said.winner, said.sentence)
    complete = [each for each in trials if each.state == "COMPLETE" and each.value is not None]
    best = min(complete, key=lambda each: (each.value, each.number), default=None)
    return None if best is None else _of_trial(spec, best, None)


def trial_winner(
    spec: StudySpec, trials: Iterable[TrialRecord], confirmation: Confirmation | None, number: int
) -> Winner:
    """Return a trial of the user's choice in the place of the winner.

    Args:
        spec: resolved specification of a study without parts.
        trials: of the study.
        confirmation: the newest, or None: it may have compared the trial with others.
        number: of the trial.

    Raises:
        UnknownNameError: if the study has no such trial.
        SpecError: if the trial has not ended, or diverged or failed.
    """
    by_number = {each.number: each for each in trials}
    if number not in by_number:
        raise UnknownNameError("trial", str(number), map(str, by_number))
    trial = by_number[number]
    if trial.diverged or trial.state not in {"COMPLETE", "PRUNED"}:
        state = "diverged" if trial.diverged else f"is {trial.state}"
        raise SpecError(
            f"a trial is used again if it ended well or was stopped early, but trial {number} of study "
            f"{spec.name!r} {state}; leave --trial out for the winner"
        )
    standings = verdict(confirmation).standings if confirmation is not None else ()
    standing = next((each for each in standings if each.candidate.trial == number), None)
    return _of_trial(spec, trial, standing)


def baseline_winner(spec: StudySpec, confirmation: Confirmation | None) -> Winner:
    """Return the best baseline of a confirmation in the place of the winner.

    Args:
        spec: resolved specification of a study without parts.
        confirmation: the newest, or None.

    Raises:
        SpecError: if none was compared, or each of them diverged or failed.
    """
    if spec.parts is not None or spec.task == EXTERNAL:
        raise SpecError(
            f"a baseline is one that `lrsearch confirm` compared with the trials, and study {spec.name!r} "
            f"cannot be confirmed: {'it has parts' if spec.parts else 'code of yours trains it'}"
        )
    said = verdict(confirmation) if confirmation is not None else None
    found = nearest_baseline(said) if said is not None else None
    if said is None or found is None:
        why = "no baseline of its confirmation came to its end" if said else "it is not confirmed"
        raise SpecError(
            f"a baseline is one that `lrsearch confirm` compared with the trials, but of study {spec.name!r} "
            f"there is none: {why}"
        )
    return _confirmed(spec, found, said.sentence)


def found_since(
    spec: StudySpec, trials: Iterable[TrialRecord], compared: Sequence[Candidate]
) -> TrialRecord | None:
    """Return the best complete trial if it beats all trials that a confirmation compared; else None.

    Args:
        spec: resolved specification of the study.
        trials: of the study.
        compared: the candidates of the confirmation; of baselines the search has found nothing.
    """
    known = [each.search_value for each in compared if each.search_value is not None]
    complete = [each for each in trials if each.state == "COMPLETE" and each.value is not None]
    better = [each for each in complete if known and (each.value or 0.0) < min(known)]
    for trial in sorted(better, key=lambda each: (each.value, each.number)):
        point = hyperparameters(spec, trial.params).to_point()  # a first trial may be a baseline itself
        if not any(same_point(point, each.point) for each in compared):
            return trial
    return None


def winner_row(best: TrialRecord, found: Winner | None, trials: Iterable[TrialRecord]) -> dict[str, Any]:
    """Return a winner as a row for other programs: its trial's, and what a confirmation says of it.

    Args:
        best: the best complete trial, which is meant where there is no winner without parts.
        found: the winner, or None in a study with parts.
        trials: all of them.
    """
    trial = best if found is None else next((each for each in trials if each.number == found.trial), None)
    if trial is None and found is not None:  # a baseline
        params = found.hyperparameters.to_point()
        row: dict[str, Any] = dict.fromkeys(TRIAL_FIELDS) | {"params": params}
    else:
        [row] = trial_rows([trial or best])
    name = f"trial {best.number}" if found is None else found.name
    reported = found.standing.valid_loss if found is not None and found.standing is not None else None
    return {"name": name, **row, "confirmed": None if reported is None else asdict(reported)}


def as_values(spec: StudySpec, found: Winner, run: tuple[int, int | None]) -> dict[str, Any]:
    """Return a winner as plain values, for JSON.

    Args:
        spec: resolved specification of the study.
        found: the winner.
        run: epochs, and updates in an epoch (None where they are not known), that it is for.
    """
    reported = found.standing.valid_loss if found.standing is not None else None
    point = found.hyperparameters
    return {
        "study": spec.name,
        "task": spec.task,
        "name": found.name,
        "trial": found.trial,
        "value": found.value,
        "confirmed": None if reported is None else asdict(reported),
        "epochs": run[0],
        "steps_per_epoch": run[1],
        "batch_size": spec.batch_size,
        "seed": spec.seed,
        "optimizer": spec.optimizer.name,
        "point": point.to_point(),
        "frozen": list(point.frozen),
    }


def _confirmed(spec: StudySpec, standing: Standing, sentence: str) -> Winner:
    candidate = standing.candidate
    point = Hyperparameters.from_point(candidate.point, spec.frozen)
    return Winner(candidate.name, candidate.trial, point, candidate.search_value, standing, sentence)


def _of_trial(spec: StudySpec, trial: TrialRecord, standing: Standing | None) -> Winner:
    value = trial.value if trial.state == "COMPLETE" else None
    point = hyperparameters(spec, trial.params)
    return Winner(f"trial {trial.number}", trial.number, point, value, standing)
