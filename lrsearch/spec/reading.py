"""Reads a study file, and says in a few lines what is wrong with a bad one."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lrsearch.errors import SpecError, suggestion
from lrsearch.schedules import KINDS
from lrsearch.spec.optimizers import OPTIMIZERS
from lrsearch.spec.study_spec import OptimizerSpec, RunSpec, SpaceSpec, StudySpec

LARGEST_FILE_BYTES = 1_000_000

_PATTERNS = {
    "name": "1 to 100 letters, digits, spaces, '.', '_' or '-', beginning with a letter or digit",
    "run.device": "auto, cpu, mps, cuda or cuda:N",
}

_SECTIONS: Mapping[str, type[BaseModel]] = {"optimizer": OptimizerSpec, "space": SpaceSpec, "run": RunSpec}


def read_spec(path: Path, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """Return the specification in a TOML file.

    Args:
        path: the file; its stem names the study when the key ``name`` does not.
        overrides: options that take precedence, by key; ``run.device`` reaches into a table.

    Raises:
        SpecError: if the file cannot be read, is not TOML, or breaks a rule.
    """
    content = {"name": path.stem, **_read_toml(path)}
    return spec_from(content, str(path), overrides)


def spec_from(
    content: Mapping[str, Any], source: str, overrides: Mapping[str, Any] | None = None
) -> StudySpec:
    """Return the specification that nested tables mean.

    Args:
        content: as a study file has it.
        source: where it comes from, named in errors.
        overrides: options that take precedence, by key.

    Raises:
        SpecError: if a key or a value breaks a rule.
    """
    merged = _override(content, overrides or {})
    try:
        return StudySpec.model_validate(merged)
    except ValidationError as error:
        options = {key.rpartition(".")[2] for key in overrides or {}}
        raise SpecError(_explain(error, source, options)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise SpecError(f"{path}: a study file has at most {LARGEST_FILE_BYTES:,} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not a text file (UTF-8 is expected)") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: is not TOML: {error}") from None


def _override(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(content)
    for key, value in overrides.items():
        table, _, name = key.rpartition(".")
        if not table:
            merged[name] = value
        elif isinstance(merged.get(table, {}), dict):
            merged[table] = {**merged.get(table, {}), name: value}
    return merged


def _explain(error: ValidationError, source: str, options: set[str]) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in _file_location(problem["loc"]))
        origin = (
            f"option --{key.rpartition('.')[2].replace('_', '-')}"
            if key.rpartition(".")[2] in options
            else source
        )
        lines.append(f"{origin}: {_sentence(key, problem)}")
    return "\n".join(lines)


def _file_location(location: tuple[int | str, ...]) -> list[int | str]:
    """Drop what only the models know: the key that gathers knobs, the tried union members."""
    parts = [part for part in location if part not in {"knobs", "constrained-int", "int"}]
    return [part for part in parts if not (isinstance(part, str) and "[" in part)]


def _sentence(key: str, problem: Any) -> str:
    kind, got = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        table, _, name = key.rpartition(".")
        return f"unknown key {key!r}.{suggestion(name, _known_keys(table))}"
    if kind == "missing":
        return f"the key {key!r} is missing; a study file needs it"
    if kind == "literal_error":
        allowed = [part.strip("' ") for part in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{key} = {got!r} is unknown.{suggestion(str(got), allowed)}"
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    if kind == "string_pattern_mismatch":
        return f"{key} must be {_PATTERNS[key]}, but got {got!r}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key} = {got!r}: {message}"


def _known_keys(table: str) -> list[str]:
    if table == "optimizer":
        return ["name", *sorted({knob for kind in OPTIMIZERS.values() for knob in kind.knobs})]
    model = _SECTIONS.get(table, StudySpec)
    keys = [name for name in model.model_fields if name != "knobs"]
    return [*keys, *KINDS] if table == "space" else keys
