"""Opens, widens and fills studies: what happens to a study before and between its runs."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from lrsearch import __version__
from lrsearch.code import is_reference
from lrsearch.errors import SpecError, StudyConflictError, StudyPausedError
from lrsearch.parameters import Range, Scalar, SearchSpace
from lrsearch.schedules.own import check_same_parameters, declare_unloaded
from lrsearch.search.first_trials import first_trials
from lrsearch.search.samplers import create_sampler
from lrsearch.search.space import distribution
from lrsearch.service.tasks import task_defaults
from lrsearch.spec import (
    SCANS,
    StudySpec,
    blamed_on,
    check_same_study,
    optimizer_named,
    resolve,
    search_space,
    spec_from,
)
from lrsearch.storage.database import Database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import (
    ORIGIN_ATTRIBUTE,
    StudyRecord,
    change_study,
    create_study,
    find_study,
    list_studies,
    study_attributes,
)
from lrsearch.storage.study_states import set_state
from lrsearch.storage.tables import FAILING, OPEN

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task


@dataclass(frozen=True)
class OpenStudy:
    """A stored study, ready to run.

    Args:
        record: where it is stored.
        spec: its resolved specification, with the ``[run]`` part of now.
        notes: what was decided on opening it and the user should know.
    """

    record: StudyRecord
    spec: StudySpec
    notes: tuple[str, ...] = field(default=())


def resolved(spec: StudySpec, task: "Task | None" = None) -> StudySpec:
    """Return a specification with its task's defaults written out and every rule checked.

    Schedules of the user's own whose code is not loaded are known by name from now on, not by formula.

    Args:
        spec: as read.
        task: the loaded task; None where it is one that comes with lrsearch, or the specification names
            epochs and batch size itself.

    Raises:
        UnknownNameError: if the task, a kind or a knob does not exist.
        SpecError: if a rule is broken.
    """
    defaults = task or task_defaults(spec)
    for kind in spec.space.kinds or ():
        if is_reference(kind):
            declare_unloaded(kind, spec.space.knobs.get(kind, {}))
    complete = resolve(spec, defaults.epochs, defaults.batch_size)
    space = search_space(complete)
    # Made for its refusals alone: a grid without values, a budget beyond the grid.
    create_sampler(complete.sampler, space, seed=complete.seed, index=0, n_trials=complete.trials)
    return complete


def open_study(database: Database, spec: StudySpec, *, trials_given: bool = False) -> OpenStudy:
    """Create a study, or open the one of that name to go on with it.

    Args:
        database: where it is stored.
        spec: resolved.
        trials_given: whether the user named the budget; a file's may be smaller than the stored one.

    Raises:
        StudyConflictError: if a study of that name has another specification.
        StudyPausedError: if somebody has paused or stopped it.
        SpecError: if the budget that was asked for is smaller than the stored one.
    """
    study = store_study(database, spec, trials_given=trials_given)
    return replace(study, notes=(*study.notes, *reopen(database, study.record)))


def known_study(database: Database, spec: StudySpec) -> StudyRecord | None:
    """Return the stored study that a specification goes on with, untouched; None if it is a new one.

    Raises:
        StudyConflictError: if a study of that name has another specification.
    """
    record = next((each for each in list_studies(database) if each.name == spec.name), None)
    if record is not None:
        check_same_study(stored_spec(record).identity(), spec)
    return record


def store_study(database: Database, spec: StudySpec, *, trials_given: bool = False) -> OpenStudy:
    """Create a study, or return the one of that name, whether workers train it or not.

    Args:
        database: where it is stored.
        spec: resolved.
        trials_given: whether the user named the budget; a file's may be smaller than the stored one.

    Raises:
        StudyConflictError: if a study of that name has another specification.
        SpecError: if the budget that was asked for is smaller than the stored one.
    """
    known = {record.name for record in list_studies(database)}
    first = first_trials(spec)
    points = list(first.points.values())
    run = spec.run.model_dump(exclude_unset=True, exclude_none=True)
    record = create_study(database, spec.name, spec.identity(), spec.trials, points, run)
    trials = _grow(database, record, spec, trials_given=trials_given)
    spec = spec.model_copy(update={"trials": trials})
    dropped = tuple(f"first trial left out, {name}: {reason}" for name, reason in first.dropped.items())
    return OpenStudy(record, spec, () if spec.name in known else (*dropped, *_warnings(spec)))


def reopen(database: Database, record: StudyRecord) -> tuple[str, ...]:
    """Let a study go on that its workers have paused; return what the user should know of it.

    Raises:
        StudyPausedError: if somebody has paused or stopped it.
    """
    if record.state != FAILING:
        check_open(record)
        return ()
    set_state(database, record.uuid, OPEN)
    return (
        f"goes on after a pause, which its workers made as its trials kept failing: {record.state_reason}",
    )


def check_open(record: StudyRecord) -> None:
    """Refuse a study that workers do not train.

    Raises:
        StudyPausedError: if it is paused or stopped.
    """
    if record.state != OPEN:
        why = f": {record.state_reason}" if record.state_reason else ""
        raise StudyPausedError(
            f"study {record.name!r} is {record.state}{why}. Let it go on: "
            f"lrsearch resume {shlex.quote(record.name)}"
        )


def stored_spec(record: StudyRecord, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """Return the specification that a study was created with, resolved, with some options changed.

    Its name is the study's of now, which may have been renamed to what no new study could be called.

    Raises:
        StudyConflictError: if a loaded schedule of the user's own has other parameters by now.
    """
    source = f"study {record.name!r}"
    draft = spec_from(record.spec, source, overrides)
    check_same_kinds(record)
    with blamed_on(source, overrides):
        spec = resolved(draft)
    return spec if overrides and "name" in overrides else spec.model_copy(update={"name": record.name})


def readable_spec(
    database: Database, record: StudyRecord, overrides: Mapping[str, Any] | None = None
) -> StudySpec:
    """Return a stored study's specification, as :func:`stored_spec` does, if this version understands it.

    Raises:
        StudyConflictError: if a newer version of lrsearch made the study.
        SpecError: if an option breaks a rule.
    """
    try:
        return stored_spec(record, overrides)
    except SpecError as error:
        maker = study_attributes(database, record.uuid).get(ORIGIN_ATTRIBUTE, {}).get("lrsearch")
        if maker is None or Version(maker) <= Version(__version__):
            raise
        raise StudyConflictError(
            f"study {record.name!r} was made by lrsearch {maker}, and this is {__version__}, which does not "
            f"understand it: {error}. Update it: pip install --upgrade lrsearch"
        ) from None


def check_same_kinds(record: StudyRecord) -> None:
    """Refuse a study whose own schedules, where their code is loaded, declare other parameters than stored.

    Raises:
        StudyConflictError: naming what differs.
    """
    space = record.spec["space"]
    for kind in space["kinds"]:
        if is_reference(kind):
            check_same_parameters(kind, space.get(kind, {}), record.name)


def extend(
    database: Database, name: str, *, trials: int, lr_low: float | None = None, lr_high: float | None = None
) -> StudySpec:
    """Widen a study's budget or its learning rates; all trials are kept.

    Args:
        database: where it is stored.
        name: of the study.
        trials: trials to add, at least 0.
        lr_low: new lower bound of lr, at most the old one.
        lr_high: new upper bound of lr, at least the old one.

    Raises:
        UnknownNameError: if there is no such study.
        SpecError: if bounds would shrink, or lr is not searched in a range.
    """
    if trials < 0:
        raise SpecError(f"a study's budget can only grow, but got {trials:+d} trials")
    record = find_study(database, name)

    def widen(stored: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
        wider = _wider(spec_from(stored, f"study {name!r}"), trials, lr_low, lr_high)
        return wider.identity(), wider.trials

    change_study(database, record.uuid, widen)
    wider = stored_spec(find_study(database, name))
    if lr_low is not None or lr_high is not None:
        study_id = database.optuna_storage.get_study_id_from_name(name)
        database.optuna_storage.widen_distribution(study_id, "lr", distribution(wider.space.lr))
    return wider


def enqueue(database: Database, name: str, point: Mapping[str, Scalar]) -> int:
    """Put a point, complete or in part, into the next free slot of a study and return the slot's index.

    Raises:
        UnknownNameError: if there is no such study.
        SpecError: if the point lies outside the study's space, or no slot is free.
    """
    record = find_study(database, name)
    spec = stored_spec(record)
    if spec.sampler in SCANS:
        raise SpecError(f"sampler {spec.sampler!r} prescribes every point itself; nothing can be enqueued")
    space = search_space(spec)
    part = _with_warmup_choice(space, point)
    space.check_part(part)
    slot = Slots(database, record.uuid).enqueue(part)
    if slot is None:
        raise SpecError(
            f"study {name!r} has no free slot left; add some: lrsearch extend {name!r} --trials +1"
        )
    return slot


def _with_warmup_choice(space: SearchSpace, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return a point in which warmup_fraction says by itself whether there is a warm-up."""
    part, fraction = dict(point), point.get("warmup_fraction")
    if fraction is None or "warmup" not in {parameter.name for parameter in space.parameters}:
        return part
    if fraction == 0:
        del part["warmup_fraction"]
    return {**part, "warmup": fraction != 0}


def _warnings(spec: StudySpec) -> tuple[str, ...]:
    """Return what is allowed in a new study, but cannot be what the user wants."""
    optimizer, kinds = spec.optimizer.name, spec.space.kinds
    if optimizer_named(optimizer).follows_lr or (kinds == ["constant"] and spec.space.warmup_fraction == 0):
        return ()
    warning = (
        f"{optimizer} uses the learning rate in its first update alone: schedules and warm-ups change "
        'nothing after it. Search lr with kinds = ["constant"] and warmup_fraction = 0'
    )
    return (warning,)


def _grow(database: Database, record: StudyRecord, spec: StudySpec, *, trials_given: bool) -> int:
    """Check that a stored study is the one that is meant, and return its budget, grown if asked to."""
    check_same_study(stored_spec(record).identity(), spec)
    stored = int(record.spec["trials"])
    if spec.trials < stored and trials_given:
        raise SpecError(
            f"a study's budget can only grow: {spec.name!r} has {stored} trials, got {spec.trials}"
        )
    trials = max(stored, spec.trials)
    if trials > stored:
        change_study(database, record.uuid, lambda spec: ({**spec, "trials": trials}, trials))
    return trials


def _wider(spec: StudySpec, trials: int, lr_low: float | None, lr_high: float | None) -> StudySpec:
    wider = spec.replace(trials=spec.trials + trials)
    if lr_low is not None or lr_high is not None:
        lr = _wider_range(spec.space.lr, lr_low, lr_high)
        wider = wider.replace(space=spec.space.model_copy(update={"lr": lr}))
    return resolved(wider)


def _wider_range(lr: Any, low: float | None, high: float | None) -> Range:
    if not isinstance(lr, Range):
        raise SpecError(f"only a range of lr can be widened, but this study has lr = {lr}")
    wider = replace(lr, low=lr.low if low is None else low, high=lr.high if high is None else high)
    if wider.low > lr.low or wider.high < lr.high:
        raise SpecError(f"bounds of lr can only be widened: {lr} does not lie within {wider}")
    return wider
