"""The well-known recipes that a study tries before its sampler proposes anything."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch.errors import SpecError
from lrsearch.parameters import Choice, Parameter, Point, Range, Scalar
from lrsearch.schedules import kind_named
from lrsearch.schedules.hyperparameters import scaled_pattern
from lrsearch.spec import RangeTestSpec, StudySpec, optimizer_named, plain_name, search_space

WARMUP_FRACTION = 0.05


@dataclass(frozen=True)
class Recipe:
    """A point that many people start with.

    Args:
        name: what it is called.
        values: what defines it, by canonical name; the rest takes usual values.
        near: values that are clipped to their ranges if they lie outside.
    """

    name: str
    values: Mapping[str, Any]
    near: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FirstTrials:
    """The recipes that a study's space allows, and why the others were dropped.

    Args:
        points: searched parts of points, by the recipe's name.
        dropped: reasons, by the recipe's name.
    """

    points: Mapping[str, Point]
    dropped: Mapping[str, str]


def first_trials(spec: StudySpec) -> FirstTrials:
    """Return the first trials of a resolved specification; none if it asks for none."""
    points: dict[str, Point] = {}
    dropped: dict[str, str] = {}
    for recipe in _recipes(spec) if spec.first_trials else ():
        try:
            point = _point(spec, recipe)
        except SpecError as error:
            dropped[recipe.name] = str(error)
        else:
            if point not in points.values():
                points[recipe.name] = point
    return FirstTrials(points, dropped)


def _recipes(spec: StudySpec) -> tuple[Recipe, ...]:
    epochs = spec.epochs or 1
    patience = max(0, min(5, epochs // 4, epochs - 3))  # 5 as in the tutorial, or what can act in the budget
    tutorial = {
        "lr": 0.1,
        "kind": "ReduceLROnPlateau",
        "warmup_fraction": 0.0,
        "momentum": 0.0,
        "ReduceLROnPlateau.factor": 0.1,
        "ReduceLROnPlateau.patience": patience,
    }
    middle = {"lr": _first_lr(spec), "warmup_fraction": WARMUP_FRACTION}
    recipes = (
        *([Recipe("the tutorial's recipe", tutorial)] if spec.optimizer.name == "SGD" else []),
        Recipe("linear decay", {**middle, "kind": "LinearLR"}),
        Recipe("cosine decay", {**middle, "kind": "CosineAnnealingLR"}),
        Recipe("warm-up, stable, decay", {**middle, "kind": "WSD"}),
        *(_range_test_recipes(spec, spec.range_test) if spec.range_test else ()),
    )
    if not optimizer_named(spec.optimizer.name).is_schedule_free:
        return recipes
    # Nobody expects decays of an optimizer that needs none, unless the study searches them.
    return tuple(each for each in recipes if each.values["kind"] in (spec.space.kinds or ()))


def _first_lr(spec: StudySpec) -> Any:
    return spec.range_test.lrs[0] if spec.range_test else _middle(spec.space.lr)


def _range_test_recipes(spec: StudySpec, found: RangeTestSpec) -> Iterator[Recipe]:
    """Yield linear decay from every further suggestion, and cyclical kinds between the interval's ends."""
    for lr in found.lrs[1:]:
        values = {"lr": lr, "kind": "LinearLR", "warmup_fraction": WARMUP_FRACTION}
        yield Recipe(f"linear decay from {lr:g}", values)
    bases = {
        "OneCycleLR": {"OneCycleLR.div_factor": found.high / found.low},
        "CyclicLR": {"CyclicLR.base_factor": found.low / found.high},
        "Sine": {"Sine.base_factor": found.low / found.high},
    }
    for kind in spec.space.kinds or ():
        if kind in bases:
            yield Recipe(
                f"{kind} over the range test's interval", {"lr": found.high, "kind": kind}, near=bases[kind]
            )


def _point(spec: StudySpec, recipe: Recipe) -> Point:
    """Return the searched part of a recipe; what it leaves open takes its usual value, or the middle."""
    space = search_space(spec)
    given = {**recipe.values, "warmup": recipe.values.get("warmup_fraction", 0.0) > 0}

    def choose(parameter: Parameter) -> Scalar:
        name = plain_name(spec, parameter.name)
        if name in recipe.near and isinstance(parameter.domain, Range):
            return parameter.domain.clipped(recipe.near[name])
        return given[name] if name in given else _usual_value(spec, name, parameter.domain)

    whole = space.walk(choose)
    _check_fixed(spec, whole, recipe)
    space.complete(space.searched_part(whole))
    return space.searched_part(whole)


def _check_fixed(spec: StudySpec, whole: Point, recipe: Recipe) -> None:
    for name, got in whole.items():
        value = recipe.values.get(plain_name(spec, name), got)
        if got != value:
            raise SpecError(f"it needs {name} = {value!r}, which this study fixes to {got!r}")


def _usual_value(spec: StudySpec, name: str, domain: Any) -> Scalar:
    """Return the usual value of a searched parameter if its domain has it, else the domain's middle."""
    usual: dict[str, Any] = {"layer_decay": 1.0}
    if scaled_pattern(name) is not None:
        usual[name] = 1.0
    for kind in spec.space.kinds or ():
        usual |= {f"{kind}.{knob.name}": knob.usual for knob in kind_named(kind).knobs}
    value: Scalar | None = usual.get(name)
    return value if value is not None and domain.contains(value) else _middle(domain)


def _middle(domain: Any) -> Any:
    if isinstance(domain, Range):
        if domain.log and not domain.integer:
            return math.sqrt(domain.low * domain.high)
        return domain.at(0.5)
    return domain.options[len(domain.options) // 2] if isinstance(domain, Choice) else domain
