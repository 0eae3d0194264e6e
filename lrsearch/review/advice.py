"""What to do next where a study has not found anything."""

import shlex
from collections.abc import Mapping

from lrsearch.spec import StudySpec


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
