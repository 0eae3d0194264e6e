"""The guard: torchvision is imported as it is where it fits, and nevertheless where it does not."""

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest

from lrsearch.tasks import vision

Importer = Callable[[str], ModuleType]


def importer(*outcomes: ModuleType | Exception) -> Importer:
    """Return an import function whose calls give these results, one after the other, and no more."""
    remaining = iter(outcomes)

    def import_module(name: str) -> ModuleType:
        assert name == "torchvision"
        outcome = next(remaining)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return import_module


class Declared:
    """A stand-in for ``torch.library.Library`` that records what is declared."""

    def __init__(self) -> None:
        self.schemas: list[str] = []

    def library(self, namespace: str, kind: str) -> SimpleNamespace:
        """Stand in for the class."""
        assert (namespace, kind) == ("torchvision", "FRAGMENT")
        return SimpleNamespace(define=self.schemas.append)


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Declared:
    """Let nothing be declared for real."""
    declared = Declared()
    monkeypatch.setattr("torch.library.Library", declared.library)
    monkeypatch.setattr("torch.ops.torchvision", SimpleNamespace(nms=None), raising=False)
    monkeypatch.setattr(vision, "_declared", [])
    return declared


def test_a_torchvision_that_fits_is_left_alone(declared: Declared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the import works nothing is declared: that would break such an installation."""
    module = ModuleType("torchvision")
    monkeypatch.setattr(vision, "import_module", importer(module))
    assert vision.import_torchvision() is module
    assert declared.schemas == []


def test_missing_operators_are_declared_after_a_failure(
    declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure that tells of missing operators is answered by declaring those that torch has not got."""
    module = ModuleType("torchvision")
    failure = RuntimeError("operator torchvision::nms does not exist")
    monkeypatch.setattr(vision, "import_module", importer(failure, module))
    assert vision.import_torchvision() is module
    assert declared.schemas == ["qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"]
    assert len(vision._declared) == 1  # kept, because a collected library takes its operators along


@pytest.mark.parametrize(
    "failure", [RuntimeError("CUDA versions differ"), ModuleNotFoundError("No module named 'torchvision'")]
)
def test_another_failure_passes_through(
    declared: Declared, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Whatever else goes wrong is the caller's to see, and nothing is declared."""
    monkeypatch.setattr(vision, "import_module", importer(failure))
    with pytest.raises(type(failure), match=str(failure)):
        vision.import_torchvision()
    assert declared.schemas == []


def test_the_installed_torchvision_can_be_imported_again_and_again() -> None:
    """In a fresh interpreter the guard works, twice, and gives what reads the data sets."""
    program = (
        "from lrsearch.tasks.vision import import_torchvision as load\n"
        "assert load() is load()\n"
        "load().datasets.MNIST, load().datasets.FashionMNIST, load().transforms\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, capture_output=True)
