"""Made-up studies as the report gets them: nothing is trained, every number is a function of the trial."""

import math
from dataclasses import replace

from lrsearch.parameters import SearchSpace
from lrsearch.results import EpochResult, TrialRecord
from lrsearch.retrainings import Audit, Candidate, Confirmation, Retraining
from lrsearch.review.facts import StudyFacts
from lrsearch.review.report.commands import Commands
from lrsearch.service.studies import resolved
from lrsearch.spec import hyperparameters, search_space, spec_from
from lrsearch.storage.workers import WorkerRecord

EPOCHS, STEPS = 8, 50
COMMANDS = Commands("go on", "confirm it", "audit it", "report it", "print trials")
ENDS = ("complete", "stopped", "stopped", "diverged", "complete", "stopped", "failed")
GOLDEN_RATIO = 1.618033988749895


def spec(**changes):
    """Return a resolved specification of a study of digits with a momentum that is searched."""
    content = {
        "name": "made-up",
        "task": "digits-mlp",
        "trials": 40,
        "epochs": EPOCHS,
        "first_trials": False,
        "optimizer": {"name": "SGD", "momentum": {"low": 0.0, "high": 0.95}},
    }
    return resolved(spec_from({**content, **changes}, "test"))


def study(trials=28, ends=ENDS, steps=STEPS, **changes):
    """Return the facts of a study whose trials end as ``ends`` says, in turn."""
    described = spec(**changes)
    space = search_space(described)
    records, curves = [], {}
    for number in range(trials):
        outcome = ends[number % len(ends)]
        curve = _curve(number, outcome, described.epochs)
        records.append(_record(number, outcome, curve, _point(space, number)))
        if curve:
            curves[number] = curve
    return StudyFacts(
        spec=described,
        created_at="2026-01-02T03:04:05+00:00",
        trials=tuple(records),
        curves=curves,
        workers=tuple(_worker(place) for place in range(2)),
        worker_of={number: f"host:{number % 2}" for number in range(trials)},
        steps_per_epoch=steps,
        origin={
            "python": "3.11.0",
            "lrsearch": "0.1.0",
            "torch": "2.13.0",
            "optuna": "5.0.0",
            "data": "ab" * 32,
        },
    )


def confirmed(facts, baseline_loss=0.2, name="tuned constant"):
    """Return a study with a confirmation of its two best trials and a baseline."""
    best = sorted((t for t in facts.trials if t.state == "COMPLETE"), key=lambda t: t.value)[:2]
    candidates = [
        Candidate(f"trial {t.number}", hyperparameters(facts.spec, t.params).to_point(), t.number, t.value)
        for t in best
    ]
    candidates.append(
        Candidate(name, {"lr": 0.05, "kind": "constant", "warmup_fraction": 0.0, "momentum": 0.0})
    )
    seeds, losses = tuple(range(100, 106)), (0.1, 0.11, baseline_loss)
    runs = {
        candidate.name: tuple(_retraining(candidate.point, seed, loss) for seed in seeds)
        for candidate, loss in zip(candidates, losses, strict=True)
    }
    found = Confirmation(
        tuple(candidates), seeds, EPOCHS, runs, ("the baseline had eight tries",), "2026-01-03T00:00:00+00:00"
    )
    return replace(facts, confirmation=found)


def audited(facts, losses=(1e-3, 5.0, math.inf)):
    """Return a study with an audit of as many stopped trials as there are losses."""
    stopped = tuple(t.number for t in facts.trials if t.state == "PRUNED" and not t.diverged)
    runs = {
        number: _retraining(facts.trials[number].params, 0, loss, sway=0.0)
        for number, loss in zip(stopped, losses, strict=False)
    }
    return replace(facts, audit=Audit(stopped, runs, "2026-01-03T00:00:00+00:00"))


def _retraining(point, seed, loss, sway=0.002):
    if math.isinf(loss):
        return Retraining(point, seed, EPOCHS, (9.0,), diverged=True)
    end = loss + sway * math.sin(seed + 50 * loss)
    return Retraining(
        point, seed, EPOCHS, (*[2 * loss] * (EPOCHS - 1), end), {}, {"loss": end, "accuracy": 1 - end}
    )


def _point(space: SearchSpace, number):
    place = iter(range(100))

    def choose(parameter):
        return parameter.domain.at(((number + 1) * GOLDEN_RATIO * (next(place) + 1)) % 1)

    return space.searched_part(space.walk(choose))


def _curve(number, outcome, epochs):
    length = {
        "complete": epochs,
        "stopped": 1 + number % (epochs - 1) if epochs > 1 else 1,
        "diverged": 2,
        "failed": 1,
    }
    level = 0.05 + 0.3 * ((number * GOLDEN_RATIO) % 1)
    losses = [level + 2 * 0.5**epoch for epoch in range(1, length.get(outcome, 0) + 1)]
    if outcome == "diverged":
        losses[-1] = math.nan
    return tuple(
        EpochResult(number, epoch, loss, loss, {"valid_accuracy": 0.9}, 0.01, 0.5)
        for epoch, loss in enumerate(losses, 1)
    )


def _record(number, outcome, curve, point):
    state = {"complete": "COMPLETE", "failed": "FAIL", "running": "RUNNING"}.get(outcome, "PRUNED")
    value = {"failed": None, "diverged": math.inf, "running": None}.get(
        outcome, curve[-1].valid_loss if curve else None
    )
    begin, end = 3 * number, 3 * number + 5
    return TrialRecord(
        number=number,
        state=state,
        value=value,
        diverged=outcome == "diverged",
        params=point,
        epochs=len(curve),
        started_at=_time(begin),
        finished_at=None if outcome == "running" else _time(end),
        reason="ValueError: no luck" if outcome == "failed" else None,
    )


def _time(seconds):
    return f"2026-01-02T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}+00:00"


def _worker(place):
    return WorkerRecord(f"host:{place}", "uuid", "host", place, "cpu", _time(0), _time(60))
