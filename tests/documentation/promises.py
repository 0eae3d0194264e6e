"""What the run of a page must have left, where the page says so: by the page's path from the root."""

import re
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lrsearch.review.report.catalogue import FIGURES
from tests.cli.commands import succeed


@dataclass(frozen=True)
class Ran:
    """What a page's run left.

    Args:
        text: the page.
        folder: where it ran.
        printed: the standard output of all its commands and its Python.
        namespace: the names that its Python defined.
    """

    text: str
    folder: Path
    printed: str
    namespace: dict[str, Any]

    def trials(self, study: str) -> Any:
        """Return a study's trials."""
        return succeed("trials", study, "--format", "json").json


def readme(ran: Ran) -> None:
    """The budget is used up, a verdict is printed, and the report and the module are written."""
    assert "Study mine: 40 of 40 trials have ended" in ran.printed
    assert "optimizer = torch.optim.SGD(model.parameters()" in ran.printed
    assert "On 5 fresh seeds that did not select it" in ran.printed
    assert "build_optimizer" in (ran.folder / "winner.py").read_text()
    assert "Verdict" in (ran.folder / "report.html").read_text()


def tutorial(ran: Ran) -> None:
    """The four recipes and the search end, figures are drawn, and there is a verdict on fresh seeds."""
    assert "Study recipe: 4 of 4 trials have ended (4 complete)" in ran.printed
    assert "Study mnist-mlp: 4 of 4 trials have ended" in ran.printed
    assert "On 2 fresh seeds that did not select it" in ran.printed
    assert "OK: at " in ran.printed
    drawn = set(re.findall(r"figures/tutorial/([\w-]+\.svg)", ran.text))
    assert drawn <= {path.name for path in ran.folder.glob("*.svg")}


def range_test(ran: Ran) -> None:
    """The picture is drawn, and the search that follows ends."""
    assert (ran.folder / "range-test.html").is_file()
    assert "Study digits-tpe: 20 of 20 trials have ended" in ran.printed


def fused_training(ran: Ran) -> None:
    """With lanes and workers chosen, and one by one."""
    assert "Study by-itself: 16 of 16 trials have ended" in ran.printed
    assert "Study one-by-one: 16 of 16 trials have ended" in ran.printed


def checkpoints(ran: Ran) -> None:
    """At the end no checkpoint is left."""
    assert "Nothing to delete." in ran.printed
    assert not list(ran.folder.glob("*.checkpoints/*/*"))


def operations(ran: Ran) -> None:
    """The names in the page's table are those that a worker writes."""
    assert "digits-tpe  done   20/20" in ran.printed
    promised = re.findall(r"^\| `(lrsearch_\w+)`", ran.text, re.MULTILINE)
    figures = re.findall(r"^(lrsearch_\w+)\{", (ran.folder / "worker.prom").read_text(), re.MULTILINE)
    assert set(promised) == set(figures)


def distributed(ran: Ran) -> None:
    """Each run goes on with the one study up to its new budget."""
    counts = re.findall(r"Study digits-tpe: (\d+ of \d+) trials have ended", ran.printed)
    assert counts[:2] == ["40 of 40", "60 of 60"]
    assert len(ran.trials("digits-tpe")) == 90


def database(ran: Ran) -> None:
    """Studies come through copies, from file to server and back."""
    assert "Study digits-tpe: 12 of 12 trials have ended" in ran.printed
    assert len(re.findall(r"^Copied 1 study ", ran.printed, re.MULTILINE)) == 4
    assert (ran.folder / "from-server.db").is_file()


def confirmation(ran: Ran) -> None:
    """A verdict on the seeds that report, and an audit's count."""
    assert "On 3 fresh seeds that did not select it, its validation loss is " in ran.printed
    assert "Of 6 stopped trials that were trained to their end, " in ran.printed


def export(ran: Ran) -> None:
    """The files are there, and each module's self-test passes."""
    assert {"winner.py", "third.py", "long.py", "trained"} <= {path.name for path in ran.folder.iterdir()}
    assert "epoch 20: validation loss 0.5" in ran.printed
    for name in ("winner.py", "third.py", "long.py"):
        with mock.patch("sys.argv", [name, "--check"]), pytest.raises(SystemExit) as end:
            runpy.run_path(name, run_name="__main__")
        assert end.value.code == 0


def report(ran: Ran) -> None:
    """Each figure that the page names is drawn, and no other exists; three studies are compared."""
    assert "Study digits-tpe: 40 of 40 trials have ended" in ran.printed
    assert {path.name for path in ran.folder.glob("*.html")} == {"report.html", "samplers.html"}
    assert (ran.folder / "loss.svg").is_file()
    assert "3 studies compared" in (ran.folder / "samplers.html").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", ran.text, re.MULTILINE) == list(FIGURES)


def your_own_model(ran: Ran) -> None:
    """The search from the command line ends, and the objective of one's own has its trials."""
    assert "Study model: 12 of 12 trials have ended" in ran.printed
    assert "optimizer = torch.optim.SGD(model.parameters()" in ran.printed
    assert len(ran.namespace["study"].trials) == 5


def training_scripts(ran: Ran) -> None:
    """Every study ends with its budget and without a failure; a GAN has two optimizers."""
    for study, budget in {"net": 8, "gan": 6, "ranks": 2, "plain": 4}.items():
        assert len(ran.trials(study)) == budget
        assert {trial["state"] for trial in ran.trials(study)} <= {"COMPLETE", "PRUNED"}
    sampled = ran.trials("gan")[2:]
    assert all(trial["params"]["generator/lr"] != trial["params"]["discriminator/lr"] for trial in sampled)
    assert min(trial["value"] for trial in ran.trials("gan")) < 1.0
    assert (
        "all 8 trials of study 'net' have ended. Add some: lrsearch extend net --trials +10\n" in ran.printed
    )
    assert "In PyTorch, generator, for 8 epochs of 20 updates:" in ran.printed
    assert "In PyTorch, discriminator, for 8 epochs of 20 updates:" in ran.printed


PROMISES: dict[str, Callable[[Ran], None]] = {
    "README.md": readme,
    "docs/tutorial.md": tutorial,
    "docs/checkpoints.md": checkpoints,
    "docs/confirmation.md": confirmation,
    "docs/database.md": database,
    "docs/distributed.md": distributed,
    "docs/export.md": export,
    "docs/fused-training.md": fused_training,
    "docs/operations.md": operations,
    "docs/range-test.md": range_test,
    "docs/report.md": report,
    "docs/training-scripts.md": training_scripts,
    "docs/your-own-model.md": your_own_model,
}
