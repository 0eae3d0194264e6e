"""How a study file writes what a parameter may be: a value, a list, or a table with two bounds."""

import math
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from lrsearch.parameters import Choice, Range, Scalar, ZeroOr

_RANGE_RULES: tuple[tuple[str, str, tuple[type, ...]], ...] = (
    ("low", "a number", (int, float)),
    ("high", "a number", (int, float)),
    ("log", "true or false", (bool,)),
    ("points", "a whole number", (int,)),
    ("or_zero", "true or false", (bool,)),
)
RANGE_KEYS = tuple(key for key, _expected, _kinds in _RANGE_RULES)


def read_domain(value: object) -> Range | Choice | ZeroOr | Scalar:
    """Return what a TOML value allows: a number fixes, a list chooses, a table searches.

    Raises:
        ValueError: if it is none of these, or its numbers break a rule.
    """
    if isinstance(value, Range | Choice | ZeroOr):
        return value
    if isinstance(value, dict):
        return _read_range(value)
    if isinstance(value, list):
        return Choice(tuple(_read_scalar(option) for option in value))
    return _read_scalar(value)


def write_domain(domain: Range | Choice | ZeroOr | Scalar) -> Any:
    """Return the TOML or JSON value that :func:`read_domain` reads back."""
    if isinstance(domain, ZeroOr):
        return {**write_domain(domain.range), "or_zero": True}
    if isinstance(domain, Choice):
        return list(domain.options)
    if isinstance(domain, Range):
        table: dict[str, Any] = {"low": domain.low, "high": domain.high}
        if domain.log:
            table["log"] = True
        if domain.points is not None:
            table["points"] = domain.points
        return table
    return domain


def _read_scalar(value: object) -> Scalar:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"expected a number, a text, a list or a table {{ low, high }}, but got {value!r}")  # noqa: TRY004 # pydantic reports ValueError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, but got {value}")
    return value


def _read_range(table: dict[str, Any]) -> Range | ZeroOr:
    unknown = sorted(set(table) - set(RANGE_KEYS))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} of a range. Known: {', '.join(RANGE_KEYS)}.")
    for key, expected, kinds in _RANGE_RULES:
        needed = key in {"low", "high"} or key in table
        if needed and type(table.get(key)) not in kinds:
            raise ValueError(f"{key} of a range must be {expected}, but got {table.get(key)!r}")
    domain = Range(table["low"], table["high"], table.get("log", False), points=table.get("points"))
    return ZeroOr(domain) if table.get("or_zero", False) else domain


DomainField = Annotated[Any, PlainValidator(read_domain), PlainSerializer(write_domain)]
