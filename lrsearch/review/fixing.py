"""A trial as a study file of its own, its values fixed."""

from collections.abc import Mapping
from typing import Any

from lrsearch.parameters import Scalar
from lrsearch.spec import StudySpec, hyperparameters


def fixed_study(spec: StudySpec, params: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return the content of a study file that trains one trial's hyperparameters once.

    Args:
        spec: resolved specification of the trial's study.
        params: the trial's searched parameters by canonical name.
    """
    point = hyperparameters(spec, params)
    space = {"lr": point.lr, "warmup_fraction": point.warmup_fraction, "kinds": [point.kind]}
    groups: dict[str, Any] = {}
    if spec.groups is not None:
        groups = {pattern: {"lr_scale": scale} for pattern, scale in point.lr_scales.items()}
        groups |= {pattern: {"frozen": True} for pattern in point.frozen}
        order = [pattern for pattern in spec.groups.patterns if pattern in groups]
        groups = {"layer_decay": point.layer_decay, **{pattern: groups[pattern] for pattern in order}}
    return {
        "name": f"{spec.name[:90]}-best",
        "task": spec.task,
        "trials": 1,
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "seed": spec.seed,
        "sampler": "random",
        "pruner": "none",
        "first_trials": False,
        "optimizer": {"name": spec.optimizer.name, **point.optimizer},
        "space": {**space, **({point.kind: dict(point.knobs)} if point.knobs else {})},
        **({"groups": groups} if groups else {}),
    }
