"""Says in plain words what is wrong with the keys and values of a study file."""

from collections.abc import Collection, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from lrsearch.errors import suggestion
from lrsearch.optimizers import OPTIMIZERS
from lrsearch.schedules import KINDS

_TABLES = ("optimizer", "space", "groups", "range_test", "run")

_EXPECTED = {
    "dict_type": "a table",
    "model_type": "a table",
    "string_type": "a text",
    "list_type": "a list",
    "bool_type": "true or false",
}


def explain(
    error: ValidationError,
    model: type[BaseModel],
    content: Mapping[str, Any],
    source: str,
    options: Collection[str] = (),
) -> str:
    """Return a line for every key that breaks a rule: where it stands, the rule, the value got.

    Args:
        error: what pydantic found.
        model: the one that was filled.
        content: what it was filled with.
        source: where the content comes from.
        options: keys whose values come from the command line instead, such as ``run.lanes``.
    """
    lines = []
    for problem in error.errors():
        key = ".".join(map(str, _file_location(problem["loc"])))
        lines.append(f"{origin(key, source, options)}: {_sentence(key, problem, model, content)}")
    return "\n".join(dict.fromkeys(lines))


def origin(key: str, source: str, options: Collection[str]) -> str:
    """Return who gave a key: an option of the command line, or the source."""
    option = {"optimizer.name": "optimizer"}.get(key, key.rpartition(".")[2])
    return f"option --{option.replace('_', '-')}" if key in options else source


def _file_location(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Drop what only the models know: the key that gathers knobs, places in a list, members of a union."""
    if location[:2] in {("run", "lanes"), ("run", "workers"), ("space", "kinds"), ("range_test", "lrs")}:
        return location[:2]
    if location[:1] == ("parts",):
        return location[:1]
    if location[:2] in {("optimizer", "knobs"), ("space", "knobs"), ("groups", "patterns")}:
        return (location[0], *location[2:])
    return location


def _sentence(key: str, problem: Any, model: type[BaseModel], content: Mapping[str, Any]) -> str:
    kind, got = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return _unknown_key(key, model, content)
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    if kind == "literal_error" and isinstance(got, str) and key not in {"run.lanes", "run.workers"}:
        allowed = [part.strip("' ") for part in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{key} = {got!r} is unknown.{suggestion(got, allowed)}"
    expected = _described(key, model) or _EXPECTED.get(kind)
    if kind == "missing":
        return f"the key {key!r} is missing; it must be {expected}"
    if expected is None:
        return f"{key} = {got!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
    return f"{key} must be {expected}, but got {got!r}"


def _unknown_key(key: str, model: type[BaseModel], content: Mapping[str, Any]) -> str:
    table, _, name = key.rpartition(".")
    known = {place: _known_keys(place, model, content) for place in ("", *_TABLES)}
    homes = [place for place, names in known.items() if name in names]
    if homes:
        where = f"in [{homes[0]}]" if homes[0] else "above the first [table]"
        return f"unknown key {key!r}. {name!r} belongs {where}."
    if key == "optimizer.betas":
        return "unknown key 'optimizer.betas'. Write the pair apart: beta1 and beta2."
    if table.startswith("groups."):
        return f"unknown key {key!r}.{suggestion(name, ('lr_scale', 'frozen'))}"
    return f"unknown key {key!r}.{suggestion(name, known.get(table, []))}"


def _known_keys(table: str, model: type[BaseModel], content: Mapping[str, Any]) -> list[str]:
    section = _section(table, model)
    keys = [name for name in section.model_fields if name not in {"knobs", "patterns"}]
    if table == "optimizer":
        given = content.get("optimizer")
        name = given.get("name", "SGD") if isinstance(given, Mapping) else "SGD"
        return keys + [knob for kind in OPTIMIZERS.values() if kind.name == name for knob in kind.knobs]
    return [*keys, *KINDS] if table == "space" else keys


def _described(key: str, model: type[BaseModel]) -> str | None:
    """Return what the model says that a key must be, or None if it is too deep for the model to say."""
    table, _, name = key.rpartition(".")
    if table not in {"", *_TABLES}:
        return None
    field = _section(table, model).model_fields.get(name)
    return field.description if field else None


def _section(table: str, model: type[BaseModel]) -> type[BaseModel]:
    if not table:
        return model
    annotation = model.model_fields[table].annotation
    candidates = (annotation, *get_args(annotation))  # a table that may be missing is "Model | None"
    return next(each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel))
