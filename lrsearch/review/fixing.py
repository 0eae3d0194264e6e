"""A trial as a study file of its own, its values fixed."""

import shlex
from collections.abc import Mapping
from typing import Any

from lrsearch.errors import SpecError
from lrsearch.parameters import Scalar
from lrsearch.schedules import Hyperparameters
from lrsearch.spec import GroupsSpec, StudySpec, hyperparameters


def fixed_study(spec: StudySpec, params: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return the content of a study file that trains one trial's hyperparameters once.

    Args:
        spec: resolved specification of the trial's study.
        params: the trial's searched parameters by canonical name.

    Raises:
        SpecError: if the study has parts: one file holds one space, and each part has values of its own.
    """
    if spec.parts is not None:
        raise SpecError(
            f"study {spec.name!r} has the parts {', '.join(spec.parts)}, and a study file cannot fix values "
            f"for each; see them: lrsearch best {shlex.quote(spec.name)} --format json"
        )
    return study_of(spec, hyperparameters(spec, params))


def study_of(
    spec: StudySpec, point: Hyperparameters, epochs: int | None = None, suffix: str = "best"
) -> dict[str, Any]:
    """Return the content of a study file that trains one point once.

    Args:
        spec: resolved specification, without parts, of the study that the point is of.
        point: its hyperparameters.
        epochs: length of the run; None is the study's.
        suffix: of the new study's name.
    """
    space = {"lr": point.lr, "warmup_fraction": point.warmup_fraction, "kinds": [point.kind]}
    return {
        "name": f"{spec.name[:90]}-{suffix}",
        "task": spec.task,
        "trials": 1,
        "epochs": epochs or spec.epochs,
        **({"batch_size": spec.batch_size} if spec.batch_size is not None else {}),
        "seed": spec.seed,
        "sampler": "random",
        "pruner": "none",
        "first_trials": False,
        "optimizer": {"name": spec.optimizer.name, **point.optimizer},
        "space": {**space, **({point.kind: dict(point.knobs)} if point.knobs else {})},
        **({"groups": _fixed_groups(spec.groups, point)} if spec.groups else {}),
    }


def _fixed_groups(groups: GroupsSpec, point: Hyperparameters) -> dict[str, Any]:
    fixed = {
        pattern: {"frozen": True} if group.frozen else {"lr_scale": point.lr_scales.get(pattern, 1.0)}
        for pattern, group in groups.patterns.items()
    }
    return {"layer_decay": point.layer_decay, **fixed}
