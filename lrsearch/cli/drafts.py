"""Which study a command means: a file, a stored one, one that comes with lrsearch, or a task's own."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.storage.studies import StudyRecord
    from lrsearch.tasks.task import Task


@dataclass(frozen=True)
class Draft:
    """A study as the user described it, its defaults still open.

    Args:
        spec: as read.
        source: where it comes from, named in errors.
        overrides: options of the command line, by key.
        record: the stored study of this name, or None.
    """

    spec: "StudySpec"
    source: str
    overrides: Mapping[str, Any]
    record: "StudyRecord | None" = None

    @property
    def stored(self) -> bool:
        """Whether a study of this name exists."""
        return self.record is not None


def find_draft(database: "Database", file_or_study: str | None, overrides: Mapping[str, Any]) -> Draft:
    """Return the study that a command line means.

    Args:
        database: where studies are stored.
        file_or_study: a study file, or a study's name; None means the task among the overrides, else the
            study to start with.
        overrides: options that take precedence, by key.

    Raises:
        SpecError: if a file or an option breaks a rule.
        UnknownNameError: if there is no such study.
    """
    from lrsearch.code import is_reference
    from lrsearch.service.studies import stored_spec
    from lrsearch.spec import TASK_TRIALS, read_spec, spec_from
    from lrsearch.spec.shipped import DEFAULT_STUDY, shipped_studies
    from lrsearch.storage.studies import list_studies

    stored = {record.name: record for record in list_studies(database)}
    shipped = shipped_studies()
    wanted = file_or_study or _task_study(overrides) or DEFAULT_STUDY
    if Path(wanted).is_file() or (wanted.endswith(".toml") and wanted not in stored):
        source, spec = wanted, read_spec(Path(wanted), overrides)
    elif wanted in stored:
        source, spec = f"study {wanted!r}", stored_spec(stored[wanted], overrides)
    elif file_or_study is None and "task" in overrides:
        source, content = "the command line", {"name": wanted, "trials": TASK_TRIALS}
        spec = spec_from(content, source, overrides)
    elif wanted in shipped:
        source, spec = str(shipped[wanted]), read_spec(shipped[wanted], overrides)
    elif Path(wanted).is_dir():
        raise SpecError(f"{wanted!r} is a folder; name a study file, such as {Path(wanted) / 'study.toml'}")
    elif is_reference(wanted):
        raise SpecError(f"{wanted!r} is no study; to train it as a task: --task {wanted}")
    else:
        raise UnknownNameError("study", wanted, {*stored, *shipped})
    return Draft(spec, source, overrides, stored.get(spec.name))


def complete(draft: Draft, allowed: Collection[str], data_dir: Path | None) -> "tuple[StudySpec, Task]":
    """Return a draft with no default left open, and its task.

    Args:
        draft: to be completed.
        allowed: references of code that the user named or allowed.
        data_dir: folder of the data sets, or None for the default.

    Raises:
        SpecError: if a rule is broken.
        CodeNotAllowedError: if the study names code that the user did not.
        StudyConflictError: if a schedule of the user's own has changed since the study was stored.
    """
    from lrsearch.code import is_reference
    from lrsearch.service.studies import check_same_kinds, resolved
    from lrsearch.service.tasks import find_task, load_kinds
    from lrsearch.spec import blamed_on

    load_kinds(draft.spec, allowed)
    if draft.record is not None:
        check_same_kinds(draft.record)
    task = find_task(draft.spec, data_dir, allowed) if is_reference(draft.spec.task) else None
    with blamed_on(draft.source, draft.overrides):
        spec = resolved(draft.spec, task)
    return spec, task or find_task(spec, data_dir)


def _task_study(overrides: Mapping[str, Any]) -> str | None:
    """Return the name of the study that a task alone describes: the option's, else the task's.

    A task that is called just that, ``net.py:task``, is named after its module.
    """
    if "task" not in overrides:
        return None
    module, _, name = overrides["task"].rpartition(":")
    if name == "task":
        name = module.removesuffix(".py").replace("\\", "/").rpartition("/")[2].rpartition(".")[2]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return str(overrides.get("name") or plain or "study")
