"""Confirmations made by hand: losses by candidate and seed."""

from lrsearch.retrainings import Candidate, Confirmation, Retraining


def point(lr=0.1, kind="constant"):
    """Return a whole point."""
    return {"lr": lr, "kind": kind, "warmup_fraction": 0.0}


def confirmation(losses, found=None, test=True, recipes=None):
    """Return a confirmation.

    Args:
        losses: by candidate's name, a value per seed; ``inf`` diverges. Names of trials begin with "trial",
            those of rivals with "rival".
        found: what the search had found, by name.
        test: whether there is a test split.
        recipes: names of first trials' recipes, by name.
    """
    found, recipes = found or {}, recipes or {}
    candidates, runs = [], {}
    for place, (name, values) in enumerate(losses.items()):
        trial = int(name.split()[1]) if name.startswith("trial") else None
        here = point(lr=0.1 * (place + 1))
        value = found.get(name, 0.0) if trial is not None else None
        optimizer = "SGDScheduleFree" if name.startswith("rival") else None
        candidates.append(Candidate(name, here, trial, value, optimizer, recipes.get(name)))
        runs[name] = tuple(run(here, seed, value, test=test) for seed, value in enumerate(values, 1))
    seeds = tuple(range(1, 1 + len(next(iter(losses.values())))))
    return Confirmation(tuple(candidates), seeds, 2, runs, ("a note",), "2026-01-01T00:00:00+00:00")


def run(here, seed, value, *, test=True):
    """Return a run of two epochs that ended with a value."""
    if value == float("inf"):
        return Retraining(here, seed, 2, (9.0,), diverged=True)
    figures = {"loss": value + 0.5, "accuracy": 1 - value} if test else {}
    return Retraining(here, seed, 2, (1.0, value), {"valid_accuracy": 0.9}, figures)
