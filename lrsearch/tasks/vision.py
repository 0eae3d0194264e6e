"""The one place where torchvision is imported, and never before it is needed."""

from importlib import import_module
from types import ModuleType

import torch

# A Library that is collected takes its operators with it.
_declared: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Return torchvision, also where its compiled operators do not fit the installed torch.

    A torchvision built for CUDA cannot load its operators beside a CPU build of torch, and its import then
    stops at the first one that it describes. Only after such a failure are those operators declared, without
    an implementation: on an installation that fits, declaring them would break the import. What calls an
    operator still fails, with torch's own message; data sets and transforms work.

    Raises:
        RuntimeError: torchvision cannot be imported for another reason.
    """
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    _declare_operators()
    return import_module("torchvision")


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # unannotated in torch
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]  # unannotated in torch
    _declared.append(library)
