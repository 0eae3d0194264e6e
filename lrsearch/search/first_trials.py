"""The well-known recipes that a study tries before its sampler proposes anything."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import SpecError
from lrsearch.parameters import Choice, Point, Range, Scalar, SearchSpace
from lrsearch.schedules import kind_named
from lrsearch.spec import StudySpec, search_space

WARMUP_FRACTION = 0.05


@dataclass(frozen=True)
class Recipe:
    """A point that many people start with.

    Args:
        name: what it is called.
        values: what defines it, by canonical name; the rest takes usual values.
        optimizer: the optimizer that it is made for, or None for any.
    """

    name: str
    values: Mapping[str, Any]
    optimizer: str | None = None


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
    middle = {"lr": _middle(spec.space.lr), "warmup_fraction": WARMUP_FRACTION}
    return (
        Recipe("the tutorial's recipe", tutorial, optimizer="SGD"),
        Recipe("linear decay", {**middle, "kind": "LinearLR"}),
        Recipe("cosine decay", {**middle, "kind": "CosineAnnealingLR"}),
        Recipe("warm-up, stable, decay", {**middle, "kind": "WSD"}),
    )


def _point(spec: StudySpec, recipe: Recipe) -> Point:
    """Return the searched part of a recipe; what it leaves open takes its usual value, or the middle."""
    if recipe.optimizer not in {None, spec.optimizer.name}:
        raise SpecError(f"it needs the optimizer {recipe.optimizer}, this study has {spec.optimizer.name}")
    space = search_space(spec)
    values = {**_usual_values(space), **recipe.values}
    if "warmup" in {parameter.name for parameter in space.parameters}:
        values["warmup"] = values["warmup_fraction"] > 0
    whole = space.walk(lambda parameter: values[parameter.name])
    _check_fixed(whole, recipe)
    space.complete(space.searched_part(whole))
    return space.searched_part(whole)


def _check_fixed(whole: Point, recipe: Recipe) -> None:
    for name, value in recipe.values.items():
        if name in whole and whole[name] != value:
            raise SpecError(f"it needs {name} = {value!r}, which this study fixes to {whole[name]!r}")


def _usual_values(space: SearchSpace) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    for parameter in space.searched:
        kind, _, knob = parameter.name.partition(".")
        usual = {k.name: k.usual for k in kind_named(kind).knobs}[knob] if knob else None
        domain = parameter.domain
        if usual is None or not (isinstance(domain, Range | Choice) and domain.contains(usual)):
            usual = _middle(domain)
        values[parameter.name] = usual
    return values


def _middle(domain: Any) -> Any:
    if isinstance(domain, Range):
        if domain.log and not domain.integer:
            return math.sqrt(domain.low * domain.high)
        return domain.at(0.5)
    return domain.options[len(domain.options) // 2] if isinstance(domain, Choice) else domain
