"""Reads a study file, and says in a few lines what is wrong with a bad one."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lrsearch.errors import SpecError, UnknownNameError, suggestion
from lrsearch.spec.explanation import explain, origin
from lrsearch.spec.shipped import shipped_studies
from lrsearch.spec.study_spec import OptimizerSpec, StudySpec

LARGEST_FILE_BYTES = 1_000_000


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
    _refuse_inner_keys(merged, source)
    try:
        return StudySpec.model_validate(merged)
    except ValidationError as error:
        raise SpecError(explain(error, StudySpec, merged, source, overrides or {})) from None


@contextmanager
def blamed_on(source: str, overrides: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Name in the message of a rule that is broken inside who broke it: a file, or an option.

    Args:
        source: the file, or the stored study.
        overrides: options by key, as :func:`read_spec` takes them.

    Raises:
        SpecError: in place of the one that is raised inside.
    """
    try:
        yield
    except (SpecError, UnknownNameError) as error:
        given = overrides or {}
        named = [key for key, value in given.items() if _names(str(error), key, value)]
        raise SpecError(f"{origin(named[0] if named else '', source, given)}: {error}") from None


def _names(message: str, key: str, value: object) -> bool:
    """Return whether a message is about a key, or about the value that it has."""
    start, pair = re.escape(key), re.escape(f"{key} = {value}")
    return re.search(rf"^{start}[ :]|\b{pair}\b", message) is not None


def _read_toml(path: Path) -> dict[str, Any]:
    if path.suffix == ".py":
        raise SpecError(
            f"{path}: is a Python file, and no study file: name the task that it defines, as in "
            f"--task {path}:task"
        )
    text = _read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: is not TOML: {error}{_toml_help(text, str(error))}") from None


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise SpecError(f"{path}: a study file has at most {LARGEST_FILE_BYTES:,} bytes")
        return path.read_text(encoding="utf-8-sig")  # Windows editors put a mark before UTF-8
    except FileNotFoundError:
        files = [str(file) for file in sorted(path.parent.glob("*.toml"))]
        beside = suggestion(str(path), files) if files else ""
        raise SpecError(
            f"there is no study file {str(path)!r}.{beside} "
            f"Studies that come with lrsearch, by name: {', '.join(shipped_studies())}."
        ) from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not a text file (UTF-8 is expected)") from None


def _toml_help(text: str, message: str) -> str:
    """Return the rule behind a message of ``tomllib``, and the line that it counts, as the file has it."""
    rule = "; a key or a [table] may stand only once" if message.startswith("Cannot ") else ""
    found = re.search(r"at line (\d+)", message)
    lines = text.split("\n")
    return rule + (f"\n  {lines[int(found[1]) - 1].strip()}" if found else "")


def _override(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with the options in place; another optimizer drops the knobs of the one before."""
    merged = dict(content)
    optimizer = merged.get("optimizer")
    if isinstance(optimizer, dict) and overrides.get("optimizer.name", _name(optimizer)) != _name(optimizer):
        merged["optimizer"] = {}
    for key, value in overrides.items():
        table, _, name = key.rpartition(".")
        if not table:
            merged[name] = value
        elif isinstance(merged.get(table, {}), dict):
            merged[table] = {**merged.get(table, {}), name: value}
    return merged


def _name(optimizer: Mapping[str, Any]) -> Any:
    return optimizer.get("name", OptimizerSpec.model_fields["name"].default)


def _refuse_inner_keys(content: Mapping[str, Any], source: str) -> None:
    """Refuse the keys under which the models gather others: a file writes those beside the rest."""
    for table, inner in (("optimizer", "knobs"), ("space", "knobs"), ("groups", "patterns")):
        if isinstance(content.get(table), Mapping) and inner in content[table]:
            raise SpecError(f"{source}: unknown key '{table}.{inner}'. Write its keys into [{table}] itself.")
