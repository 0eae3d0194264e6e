"""The rivals of a search: optimizers that need no schedule, tuned with as many epochs as the search had."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace

from lrsearch.errors import InputError
from lrsearch.optimizers import OPTIMIZERS, OptimizerKind
from lrsearch.parameters import Choice, Range, Scalar
from lrsearch.results import in_one_line
from lrsearch.retrainings import Candidate
from lrsearch.search.baselines import WARMUP_FRACTION, schedule_free, spread_rates
from lrsearch.service.retraining import RetrainingProgress, Workshop
from lrsearch.service.tuning import LEAST_RUNS, Tuning, runs_of_the_search, tuned
from lrsearch.spec import StudySpec, resolve
from lrsearch.training.rehearsal import rehearse

_FAMILIES = {"SGDScheduleFree": "SGD", "AdamWScheduleFree": "AdamW"}


@dataclass(frozen=True)
class Rival:
    """An optimizer that needs no schedule, with its tuned learning rate.

    Args:
        candidate: what is compared; None where it cannot be trained.
        workshop: where it is trained.
        note: how it was tuned, or why it is left out.
    """

    candidate: Candidate | None
    workshop: Workshop
    note: str


def check_rivals(spec: StudySpec) -> None:
    """Refuse rivals that cannot be trained.

    Raises:
        SpecError: if their package is not installed.
    """
    from lrsearch.training.optimizers import (
        optimizer_class,  # here, because it takes a second to import torch
    )

    for kind in _rivals_of(spec):
        optimizer_class(kind)


def tuned_rivals(
    workshop: Workshop, stop_requested: Callable[[], bool]
) -> Generator[RetrainingProgress, None, list[Rival] | None]:
    """Tune the rate of every rival, each with as many epochs as the study's trials had together.

    Args:
        workshop: of the study.
        stop_requested: asked after every epoch.

    Returns:
        None if it was stopped.
    """
    runs = runs_of_the_search(workshop)
    rivals = []
    for kind in _rivals_of(workshop.spec):
        rival = yield from _tuned_rival(workshop, kind, runs, stop_requested)
        if rival is None:
            return None
        rivals.append(rival)
    return rivals


def _tuned_rival(
    workshop: Workshop, kind: OptimizerKind, runs: int, stop_requested: Callable[[], bool]
) -> Generator[RetrainingProgress, None, Rival | None]:
    spec = _spec_of(workshop.spec, kind)
    own = replace(workshop, spec=spec)
    name = f"schedule-free {_FAMILIES[kind.name]}"
    try:
        rehearse(own.task, own.data, kind.name, schedule_free(spec, spread_rates(spec, 1)[0]))
    except InputError as error:
        return Rival(None, own, f"{name} is left out, as it cannot train this model: {in_one_line(error)}")
    tuning = Tuning(f"{name}, a rival", lambda lr: schedule_free(spec, lr), kind.name)
    found = yield from tuned(own, tuning, runs, stop_requested)
    if found is None:
        return None
    if found.lost:
        return Rival(None, own, f"{name} is left out: at {found.runs} rates it diverged or failed")
    note = (
        f"{name} was tuned with {found.runs} runs of {spec.epochs} epochs (as much as the whole search "
        f"trained, but at least {LEAST_RUNS} runs): of these rates, {found.lr:.3g} is best"
    )
    point = schedule_free(spec, found.lr).to_point()
    candidate = Candidate(f"{name} at a tuned {found.lr:.3g}", point, optimizer=kind.name)
    return Rival(candidate, own, note)


def _rivals_of(spec: StudySpec) -> list[OptimizerKind]:
    return [OPTIMIZERS[name] for name in _FAMILIES if name != spec.optimizer.name]


def _spec_of(spec: StudySpec, kind: OptimizerKind) -> StudySpec:
    """Return the specification of a study with another optimizer, its own range of rates, and no schedule."""
    rival = spec.replace(
        optimizer={"name": kind.name, "knobs": _kept_knobs(spec, kind)},
        space={"kinds": ["constant"], "warmup_fraction": WARMUP_FRACTION},
        sampler="random",
        first_trials=False,
    )
    return resolve(rival, spec.epochs or 1, spec.batch_size)


def _kept_knobs(spec: StudySpec, kind: OptimizerKind) -> Mapping[str, Scalar]:
    """Return the weight decay of the study, where it fixes one and the optimizer is of the same family."""
    decay = spec.optimizer.knobs.get("weight_decay")
    if spec.optimizer.name != _FAMILIES[kind.name] or decay is None or isinstance(decay, Range | Choice):
        return {}
    return {"weight_decay": decay}
