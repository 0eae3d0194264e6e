"""Turns what a study file says into what a study does: no default left open, every rule checked."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lrsearch.errors import SpecError, StudyConflictError, suggestion
from lrsearch.optimizers import OptimizerKind, optimizer_named
from lrsearch.parameters import Choice, Condition, Domain, Parameter, Range, Scalar, SearchSpace, ZeroOr
from lrsearch.schedules import DEFAULT_KINDS, KINDS, Hyperparameters, Kind, kind_named
from lrsearch.schedules.hyperparameters import scale_name
from lrsearch.schedules.kinds import Limits
from lrsearch.spec.origin import EXTERNAL
from lrsearch.spec.study_spec import GroupSpec, GroupsSpec, StudySpec

DEFAULT_WARMUP = ZeroOr(Range(0.05, 0.2))
SCANS = ("grid", "coarse-to-fine")
PART_SEPARATOR = "/"
CONSTANT = "constant"
_SCALE_LIMITS = Range(0.0, 1e6)
_DECAY_LIMITS = Range(1e-6, 1.0)


def resolve(spec: StudySpec, epochs: int, batch_size: int | None) -> StudySpec:
    """Return the specification with every default written out.

    Args:
        spec: as read.
        epochs: the task's, used if the specification has none.
        batch_size: the task's, used if the specification has none; None where batches are not ours.

    Raises:
        SpecError: if the specification breaks a rule that needs the budget, the kinds or the optimizer.
    """
    epochs = spec.epochs or epochs
    optimizer = optimizer_named(spec.optimizer.name)
    usual_kinds = [CONSTANT] if optimizer.is_schedule_free else list(DEFAULT_KINDS)
    kinds = spec.space.kinds if spec.space.kinds is not None else usual_kinds
    _check_kinds(kinds, spec.space.knobs)
    space = {
        "lr": spec.space.lr if spec.space.lr is not None else optimizer.lr,
        "warmup_fraction": _warmup(spec, kinds),
        "kinds": kinds,
        "knobs": {kind: _knobs(kind_named(kind), spec.space.knobs.get(kind, {}), epochs) for kind in kinds},
    }
    resolved = spec.replace(
        epochs=epochs,
        batch_size=spec.batch_size or batch_size,
        pruner=spec.pruner or ("none" if spec.sampler in SCANS else "percentile"),
        first_trials=spec.first_trials if spec.first_trials is not None else spec.sampler not in SCANS,
        optimizer={"name": optimizer.name, "knobs": _optimizer_knobs(optimizer, spec.optimizer.knobs)},
        space=space,
        groups=_groups(spec.groups),
    )
    _check(resolved)
    return resolved


def search_space(spec: StudySpec) -> SearchSpace:
    """Return the tree of parameters of a resolved specification, once for each of its parts."""
    tree = _tree(spec)
    if spec.parts is None:
        return SearchSpace(tree)
    return SearchSpace(tuple(_of_part(part, parameter) for part in spec.parts for parameter in tree))


def hyperparameters(
    spec: StudySpec, params: Mapping[str, Scalar], part: str | None = None
) -> Hyperparameters:
    """Return the hyperparameters of a trial of a resolved specification.

    Args:
        spec: of the trial's study.
        params: the searched part of the trial's point, by canonical name.
        part: one of the specification's parts, or None if it has none.
    """
    point = search_space(spec).with_fixed(params)
    prefix = f"{part}{PART_SEPARATOR}" if part is not None else ""
    mine = {name[len(prefix) :]: value for name, value in point.items() if name.startswith(prefix)}
    return Hyperparameters.from_point(mine, spec.frozen)


def hyperparameters_by_part(
    spec: StudySpec, params: Mapping[str, Scalar]
) -> dict[str | None, Hyperparameters]:
    """Return the hyperparameters of a trial by part; those of a study without parts below None.

    Args:
        spec: of the trial's study, resolved.
        params: the searched part of the trial's point, by canonical name.
    """
    return {part: hyperparameters(spec, params, part) for part in spec.parts or (None,)}


def plain_name(spec: StudySpec, name: str) -> str:
    """Return a canonical name without the part of the study that it belongs to."""
    return name if spec.parts is None else name.partition(PART_SEPARATOR)[2]


def largest_warmup_fraction(spec: StudySpec) -> float:
    """Return the longest warm-up that a trial of a resolved specification may have, as a fraction."""
    domain = spec.space.warmup_fraction
    if isinstance(domain, ZeroOr):
        return domain.range.high
    if isinstance(domain, Range):
        return domain.high
    if isinstance(domain, Choice):
        return max(_numbers(domain))
    return float(domain)


def check_same_study(stored: Mapping[str, Any], spec: StudySpec) -> None:
    """Refuse a specification that differs from the stored one in more than its budget.

    Args:
        stored: what :meth:`StudySpec.identity` gave when the study was created.
        spec: the resolved specification of now.

    Raises:
        StudyConflictError: naming all that differs.
    """
    before, now = (
        dict(_flatten(tables)) | {"groups, in their order": list(tables.get("groups", {}))}
        for tables in (stored, spec.identity())
    )
    names = sorted(name for name in {*before, *now} - {"trials", "name"} if before.get(name) != now.get(name))
    if names:
        lines = [f"  {name}: stored {_written(before, name)}, now {_written(now, name)}" for name in names]
        raise StudyConflictError(
            f"study {spec.name!r} exists with another specification:\n"
            + "\n".join(lines)
            + "\nStart another one: --name NEW. Or go on with the stored one: lrsearch optimize "
            + shlex.quote(spec.name)
        )


def _written(flat: Mapping[str, Any], name: str) -> str:
    return repr(flat[name]) if name in flat else "not set"


def _flatten(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_kinds(kinds: list[str], knobs: Mapping[str, Any]) -> None:
    if not kinds:
        raise SpecError("space.kinds needs at least one schedule kind, but got an empty list")
    if len(set(kinds)) < len(kinds):
        raise SpecError(f"space.kinds must not repeat a kind, but got {kinds}")
    for name in kinds:
        if name not in KINDS and ":" not in name:
            raise SpecError(f"space.kinds: unknown schedule kind {name!r}.{suggestion(name, KINDS)}")
    for name in knobs:
        if name not in kinds:
            raise SpecError(
                f"space.{name} is set, but space.kinds does not list {name!r}: add it there. "
                f"Listed: {', '.join(kinds)}."
            )


def _warmup(spec: StudySpec, kinds: list[str]) -> Any:
    if spec.space.warmup_fraction is not None:
        return spec.space.warmup_fraction
    return DEFAULT_WARMUP if any(kind_named(name).takes_warmup for name in kinds) else 0.0


def _knobs(kind: Kind, given: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    known = {knob.name: knob for knob in kind.knobs}
    for name in given:
        if name not in known:
            raise SpecError(f"unknown key 'space.{kind.name}.{name}'.{suggestion(name, known)}")
    domains = {name: given.get(name, knob.default_for(epochs)) for name, knob in known.items()}
    for name, domain in domains.items():
        limits = known[name].limits
        if isinstance(limits, Range):
            domains[name] = _as_integers(domain) if limits.integer else _as_floats(domain)
        _check_limits(f"space.{kind.name}.{name}", domains[name], limits)
    return domains


def _optimizer_knobs(optimizer: OptimizerKind, given: Mapping[str, Any]) -> dict[str, Any]:
    knobs = {name: given.get(name, knob.usual) for name, knob in optimizer.knobs.items()}
    for name, domain in knobs.items():
        limits = optimizer.knobs[name].limits
        knobs[name] = _as_integers(domain) if isinstance(limits, Range) and limits.integer else domain
        _check_limits(f"optimizer.{name}", knobs[name], limits)
    return knobs


def _as_integers(domain: Any) -> Any:
    """Return a domain with whole numbers as integers; others stay, for the limits to refuse."""
    if isinstance(domain, Range) and float(domain.low).is_integer() and float(domain.high).is_integer():
        return Range(int(domain.low), int(domain.high), domain.log, integer=True, points=domain.points)
    if isinstance(domain, Choice):
        return Choice(tuple(_as_integers(option) for option in domain.options))
    return int(domain) if isinstance(domain, float) and domain.is_integer() else domain


def _as_floats(domain: Any) -> Any:
    """Return a range with bounds that are floats, so that a stored study tells it from whole numbers."""
    if isinstance(domain, Range):
        return Range(float(domain.low), float(domain.high), domain.log, points=domain.points)
    return domain


def _check_limits(key: str, domain: Any, limits: Limits) -> None:
    if isinstance(domain, ZeroOr):
        raise SpecError(f"{key}: or_zero is for warmup_fraction alone")
    for value in _extremes(domain):
        if not limits.contains(value):
            rule = "be" if isinstance(limits, Choice) else "lie within"
            raise SpecError(f"{key} must {rule} {limits}, but got {value!r}")


def _extremes(domain: Any) -> tuple[Scalar, ...]:
    if isinstance(domain, ZeroOr):
        return (0.0, *_extremes(domain.range))
    if isinstance(domain, Range):
        return (domain.low, domain.high)
    return domain.options if isinstance(domain, Choice) else (domain,)


def _numbers(domain: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in _extremes(domain))


def _groups(groups: GroupsSpec | None) -> dict[str, Any] | None:
    if groups is None:
        return None
    decay = 1.0 if groups.layer_decay is None else groups.layer_decay
    _check_limits("groups.layer_decay", decay, _DECAY_LIMITS)
    patterns = {pattern: _group(pattern, group) for pattern, group in groups.patterns.items()}
    return {"layer_decay": decay, "patterns": patterns}


def _group(pattern: str, group: GroupSpec) -> dict[str, Any]:
    if group.frozen:
        if group.lr_scale is not None:
            raise SpecError(f"groups.{pattern!r} is frozen and has no learning rate; leave out lr_scale")
        return {"frozen": True}
    scale = 1.0 if group.lr_scale is None else group.lr_scale
    _check_limits(f"groups.{pattern!r}.lr_scale", scale, _SCALE_LIMITS)
    return {"lr_scale": scale}


def _check(spec: StudySpec) -> None:
    if isinstance(spec.space.lr, ZeroOr):
        raise SpecError("space.lr: or_zero is for warmup_fraction alone")
    for value in _extremes(spec.space.lr):
        if isinstance(value, str | bool) or value <= 0:
            raise SpecError(f"space.lr must lie above 0, but got {value!r}")
    for value in _extremes(spec.space.warmup_fraction):
        if isinstance(value, str | bool) or not 0 <= value <= 0.9:
            raise SpecError(f"space.warmup_fraction must lie within 0..0.9, but got {value!r}")
    if spec.task == EXTERNAL and spec.batch_size is not None:
        raise SpecError(
            f'batch_size belongs into your own script where task = "{EXTERNAL}", but got {spec.batch_size}; '
            "leave it out"
        )
    if spec.parts is not None:
        _check_parts(spec, spec.parts)
    _check_nesterov(spec)
    _check_first_trials(spec)
    _check_patience(spec)


def _check_parts(spec: StudySpec, parts: list[str]) -> None:
    if len(set(parts)) < len(parts):
        raise SpecError(f"parts must not repeat a name, but got {parts}")
    if spec.task != EXTERNAL:
        raise SpecError(
            f'parts are for task = "{EXTERNAL}", whose script builds an optimizer for each; '
            f"{spec.task!r} trains with one, but got parts = {parts}"
        )
    if spec.sampler == "coarse-to-fine":
        raise SpecError(
            f"sampler 'coarse-to-fine' scans one learning rate, but parts = {parts} have one each; "
            'choose another sampler, such as "tpe"'
        )


def _check_nesterov(spec: StudySpec) -> None:
    knobs = spec.optimizer.knobs
    if spec.optimizer.name != "SGD" or True not in _extremes(knobs.get("nesterov", False)):
        return
    momentum, dampening = min(_numbers(knobs["momentum"])), max(_numbers(knobs["dampening"]))
    if momentum <= 0 or dampening > 0:
        raise SpecError(
            "optimizer.nesterov = true needs momentum above 0 and dampening = 0, "
            f"but got momentum = {momentum:g}, dampening = {dampening:g}; set optimizer.momentum = 0.9"
        )


def _check_first_trials(spec: StudySpec) -> None:
    if spec.first_trials and spec.sampler in SCANS:
        raise SpecError(
            f"first_trials must be false with sampler {spec.sampler!r}, which prescribes every point itself"
        )


def _check_patience(spec: StudySpec) -> None:
    knobs = spec.space.knobs.get("ReduceLROnPlateau")
    if not knobs or spec.epochs is None:
        return
    longest = max(_numbers(knobs["patience"]))
    useful = max(0, spec.epochs - 3)  # the first epoch improves, patience + 1 do not, one follows the cut
    if longest > useful:
        raise SpecError(
            f"space.ReduceLROnPlateau.patience must be at most {useful} to act within {spec.epochs} epochs, "
            f"but got {longest:g}; lower it, or raise epochs to {longest + 3:g}"
        )


def _tree(spec: StudySpec) -> tuple[Parameter, ...]:
    kinds = tuple(spec.space.kinds or ())
    kind: Domain | Scalar = Choice(kinds) if len(kinds) > 1 else kinds[0]
    return (
        Parameter("lr", spec.space.lr),
        Parameter("kind", kind),
        *_warmup_parameters(spec),
        *(parameter for name in kinds for parameter in _kind_parameters(spec, kind_named(name))),
        *(Parameter(name, domain) for name, domain in spec.optimizer.knobs.items()),
        *_group_parameters(spec.groups),
    )


def _group_parameters(groups: GroupsSpec | None) -> Iterator[Parameter]:
    if groups is None:
        return
    yield Parameter("layer_decay", groups.layer_decay)
    for pattern, group in groups.patterns.items():
        if not group.frozen:
            yield Parameter(scale_name(pattern), group.lr_scale)


def _of_part(part: str, parameter: Parameter) -> Parameter:
    condition = parameter.condition
    if condition is not None:
        condition = Condition(f"{part}{PART_SEPARATOR}{condition.parent}", condition.values)
    return Parameter(f"{part}{PART_SEPARATOR}{parameter.name}", parameter.domain, condition)


def _warmup_parameters(spec: StudySpec) -> list[Parameter]:
    kinds = [name for name in spec.space.kinds or () if kind_named(name).takes_warmup]
    if not kinds:
        return []
    condition = Condition("kind", frozenset(kinds))
    domain = spec.space.warmup_fraction
    if not isinstance(domain, ZeroOr):
        return [Parameter("warmup_fraction", domain, condition)]
    return [
        Parameter("warmup", Choice((False, True)), condition),
        Parameter("warmup_fraction", domain.range, Condition("warmup", frozenset({True}))),
    ]


def _kind_parameters(spec: StudySpec, kind: Kind) -> Iterator[Parameter]:
    for knob in kind.knobs:
        condition = Condition("kind", frozenset({kind.name}))
        if knob.only_if is not None:
            parent, value = knob.only_if
            condition = Condition(f"{kind.name}.{parent}", frozenset({value}))
        yield Parameter(f"{kind.name}.{knob.name}", spec.space.knobs[kind.name][knob.name], condition)
