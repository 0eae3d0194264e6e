"""Whether a study's task is still what its trials were trained with: a specification only names it."""

import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from lrsearch.errors import StudyConflictError
from lrsearch.spec import StudySpec
from lrsearch.storage.studies import ORIGIN_ATTRIBUTE, STEPS_ATTRIBUTE
from lrsearch.tasks.task import Task
from lrsearch.training.data import TrainingData
from lrsearch.training.eager import build_model, validate
from lrsearch.training.signature import model_signature

LOSS_ATTRIBUTE = "lrsearch:untrained_loss"  # of Optuna's study
SAME_LOSS = 1e-3  # relative: devices round differently, another loss differs by more
STREAMED = "streamed"  # data that are not read as a whole
_DRAWN = "Data that are drawn at random need a seed: torch.Generator().manual_seed(0)"
_PACKAGES = ("lrsearch", "torch", "optuna")


def origin_of(task: Task, data: TrainingData) -> dict[str, str]:
    """Return with what a study begins: versions by package, and what is known of its data and its model."""
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **versions,
        "data": data.fingerprint or STREAMED,
        "model": model_signature(task),
    }


def check_same_task(attributes: Mapping[str, Any], spec: StudySpec, task: Task, data: TrainingData) -> None:
    """Refuse to train for a study whose data or model are others than when it began.

    Args:
        attributes: of Optuna's study.
        spec: of the study, resolved.
        task: the study's, as it is now.
        data: the task's, as they are now.

    Raises:
        StudyConflictError: if one is another.
    """
    known = attributes.get(ORIGIN_ATTRIBUTE, {})
    if "data" in known and known["data"] not in {STREAMED, data.fingerprint or known["data"]}:
        raise _conflict(spec, f"its data are others. {_DRAWN}")
    # Other versions of PyTorch print the same layers differently.
    same_torch = known.get("torch") == version("torch")
    if same_torch and "model" in known and known["model"] != model_signature(task):
        raise _conflict(spec, "its model has other layers, or layers with other settings")


def check_same_beginning(
    attributes: Mapping[str, Any], spec: StudySpec, steps_per_epoch: int, untrained_loss: float
) -> None:
    """Refuse to train for a study whose epochs or whose untrained model are others than when it began.

    Args:
        attributes: of Optuna's study.
        spec: of the study, resolved.
        steps_per_epoch: updates in an epoch now.
        untrained_loss: validation loss now of the untrained model that the study's seed gives.

    Raises:
        StudyConflictError: if one is another.
    """
    steps = attributes.get(STEPS_ATTRIBUTE, steps_per_epoch)
    if steps != steps_per_epoch:
        raise _conflict(spec, f"an epoch had {steps} updates and has {steps_per_epoch} now")
    loss = attributes.get(LOSS_ATTRIBUTE, untrained_loss)
    if not math.isclose(loss, untrained_loss, rel_tol=SAME_LOSS):
        what = f"its untrained validation loss was {loss:.6g} and is now {untrained_loss:.6g}"
        raise _conflict(spec, f"{what}. {_DRAWN}")


def check_unchanged(attributes: Mapping[str, Any], spec: StudySpec, task: Task, data: TrainingData) -> None:
    """Refuse to train points of a study once more whose task has changed since it began.

    It takes what :func:`check_same_task` takes, and looks at the untrained model's loss as well.

    Raises:
        StudyConflictError: if it has.
    """
    check_same_task(attributes, spec, task, data)
    loss, _metrics = validate(task, build_model(task, spec.seed, data.device), data, spec.seed)
    check_same_beginning(attributes, spec, data.steps_per_epoch, loss)


def _conflict(spec: StudySpec, what: str) -> StudyConflictError:
    return StudyConflictError(
        f"the task {spec.task!r} has changed since study {spec.name!r} began, so that new runs could not be "
        f"compared with its trials: {what}. Start another study: --name NEW"
    )
