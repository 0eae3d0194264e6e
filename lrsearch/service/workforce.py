"""How many processes train a study on this machine."""

import sys
from pathlib import Path

from lrsearch.service.cores import usable_cores
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import list_studies

TRIALS_PER_WORKER = 4  # to start a process for fewer pays rarely: each imports PyTorch and reads the data
_DEVICES = Path("/dev")
_ACCELERATORS = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")  # what CUDA and ROCm need there, on Linux


def number_of_workers(database: Database, spec: StudySpec) -> int:
    """Return how many processes train a study on this machine.

    Args:
        database: where it is stored, if it is.
        spec: as read, or resolved. Where it leaves the number open, a CPU has one worker for each core, but
            none for fewer than ``TRIALS_PER_WORKER`` of the trials that are left; otherwise each GPU has one.
            There are never more than these trials.

    Raises:
        DeviceError: if the device does not exist.
    """
    return workers_for(spec, trials_left(database, spec))


def workers_for(spec: StudySpec, trials: int) -> int:
    """Return how many processes train so many trials of a study on this machine, as above.

    Args:
        spec: as read, or resolved.
        trials: that are to be trained.
    """
    if spec.run.workers != "auto":
        return max(1, min(spec.run.workers, trials))
    if not _trains_on_cpu(spec.run.device):
        return max(1, min(_gpus(spec.run.device), trials))
    return max(1, min(usable_cores(), trials // TRIALS_PER_WORKER))


def on_device_of(spec: StudySpec, number: int) -> StudySpec:
    """Return a specification as one of several workers of this machine trains it: each on a GPU of its own.

    Args:
        spec: as read, or resolved.
        number: index of the worker, from 0.
    """
    gpus = 1 if _trains_on_cpu(spec.run.device) else _gpus(spec.run.device)
    if gpus == 1:
        return spec
    run = spec.run.model_copy(update={"device": f"cuda:{number % gpus}"})
    return spec.model_copy(update={"run": run})


def trials_left(database: Database, spec: StudySpec) -> int:
    """Return how many trials of a study, stored or not, have not ended."""
    for record in list_studies(database):
        if record.name == spec.name:
            ended = Slots(database, record.uuid).counts().ended
            return max(spec.trials, int(record.spec["trials"])) - ended
    return spec.trials


def _trains_on_cpu(device: str) -> bool:
    if device == "cpu" or (device == "auto" and not _may_have_accelerator()):
        return True
    from lrsearch.training.devices import resolve_device  # here, because it takes a second to import torch

    return resolve_device(device).type == "cpu"


def _gpus(device: str) -> int:
    """Return how many GPUs the workers of a study share; one where it names one, and on other devices."""
    import torch  # here, because it takes a second

    return max(1, torch.cuda.device_count()) if device in {"auto", "cuda"} else 1


def _may_have_accelerator() -> bool:
    if sys.platform != "linux":
        return True
    return any(path for pattern in _ACCELERATORS for path in _DEVICES.glob(pattern))
