"""What to do next: where a study has not found anything, and where it has, but nothing is confirmed."""

import shlex
from collections.abc import Mapping

from lrsearch.spec import EXTERNAL, OBJECT, StudySpec, references

NO_TASK = "code of yours trains this study: try the best trial under other seeds before you rely on it"


def how_to_confirm(spec: StudySpec, storage: str | None = None, **options: int | bool | None) -> str | None:
    """Return the command that confirms a study, or the call where its task is an object of a program.

    None where the training is code of the user's, which nobody else can call.

    Args:
        spec: of the study.
        storage: URL of the database without its password, where commands must name it; else None.
        options: of ``lrsearch confirm``, by name; False and None are left out.
    """
    if spec.task == EXTERNAL:
        return None
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    if spec.task.endswith(OBJECT):
        return (
            f"{call(spec, storage)}.confirm({', '.join(f'{name}={value}' for name, value in given.items())})"
        )
    words = ["lrsearch", "confirm", spec.name]
    for name, value in given.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    words += [] if storage is None else ["--storage", storage]
    allowed = (word for reference in references(spec) for word in ("--allow-task", reference))
    return shlex.join([*words, *allowed])


def call(spec: StudySpec, storage: str | None = None) -> str:
    """Return the call with which a program goes on with a study of an object.

    Args:
        spec: of the study.
        storage: URL of the database without its password, where calls must name it; else None.
    """
    where = "" if storage is None else f", storage={storage!r}"
    return f"lrsearch.optimize(task, ..., name={spec.name!r}{where})"


def without_complete_trial(spec: StudySpec, counts: Mapping[str, int], go_on: str) -> str:
    """Return what the trials of a study without a complete one came to, and what helps.

    Args:
        spec: of the study.
        counts: ended trials by how they ended: ``pruned``, ``diverged``, ``fail``.
        go_on: the command or call that goes on with the study.
    """
    start, name = f"study {spec.name!r} has no complete trial", shlex.quote(spec.name)
    ended = sum(counts.get(key, 0) for key in ("pruned", "diverged", "fail"))
    if ended < spec.trials:
        return f"{start} yet; go on with: {go_on}"
    if counts.get("diverged", 0) * 2 >= ended:
        return (
            f"{start}: {counts['diverged']} of {ended} diverged, with lr in {spec.space.lr}. Search smaller "
            "learning rates in another study; lrsearch range-test finds bounds. If small ones diverge too, "
            "look for NaN or huge numbers in inputs and targets"
        )
    if counts.get("fail", 0) * 2 >= ended:
        return f"{start}: {counts['fail']} of {ended} failed; see why: lrsearch trials {name}"
    return f"{start}: all were pruned. Add some: lrsearch extend {name} --trials +10"
