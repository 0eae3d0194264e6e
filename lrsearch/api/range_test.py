"""``lrsearch.range_test``: a learning-rate range test from Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.api.arguments import as_table, database_at, given, load, stored_name
from lrsearch.foreign_warnings import foreign_warnings_hidden
from lrsearch.lr_range import (
    EXPONENTIAL,
    LrInterval,
    RangeTest,
    Suggestions,
    Zones,
    find_zones,
    suggestions,
)
from lrsearch.review.range_test_figures import write_figure
from lrsearch.review.range_test_sketch import sketch
from lrsearch.review.range_test_wording import range_test_lines, space_lines
from lrsearch.service.optimize import load_onto_device
from lrsearch.service.range_test import RangeTestPlan, find_range
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task


@dataclass(frozen=True, repr=False)
class RangeTestResult:
    """What a range test found; printed, it shows the curve, the zones and the suggestions.

    Args:
        test: growth, settings and curves.
    """

    test: RangeTest

    @property
    def zones(self) -> Zones:
        """Where the lr is too low, where the loss falls, where it rises; and hints for what is missing."""
        return find_zones(self.test)

    @property
    def suggestions(self) -> Suggestions:
        """What each rule suggests, and what they agree on."""
        return suggestions(self.test)

    @property
    def lr(self) -> float | None:
        """The learning rate that the rules agree on; None if the loss never falls."""
        return self.suggestions.lr

    @property
    def interval(self) -> LrInterval | None:
        """The learning rates worth searching; None if the loss never falls."""
        return self.suggestions.interval

    def plot(self, path: str | Path) -> None:
        """Draw loss over lr, loss over step and lr over step into a file: .html, .png or .svg."""
        write_figure(self.test, Path(path))

    def __repr__(self) -> str:
        parts = [sketch(self.test), range_test_lines(self.test), space_lines(self.test)]
        return "\n\n".join("\n".join(lines) for lines in parts if lines)


def range_test(
    task: "Task | str",
    *,
    optimizer: str | Mapping[str, Any] = "SGD",
    groups: Mapping[str, Any] | None = None,
    growth: str = EXPONENTIAL,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int | None = None,
    epochs: int | None = None,
    seeds: int = 3,
    zoom: bool = False,
    batch_size: int | None = None,
    device: str = "auto",
    storage: str | None = None,
    data_dir: Path | None = None,
) -> RangeTestResult:
    """Raise the learning rate step by step over several seeds, and suggest one from where the loss falls.

    Args:
        task: a :class:`lrsearch.Task`, or the name of one that comes with lrsearch.
        optimizer: name of an optimizer of ``torch.optim``, or the table ``[optimizer]`` of a study file.
        groups: the table ``[groups]`` of a study file; their proportions are kept.
        growth: ``"exponential"`` or ``"linear"``.
        low: learning rate of the first update, above 0.
        high: learning rate after the last update, above ``low``.
        steps: updates; None is ``epochs``, or 200 if that is None too.
        epochs: passes over the training split, instead of ``steps``.
        seeds: runs with initial weights and batch order of their own.
        zoom: whether the falling zone is tested again, more slowly.
        batch_size: examples per forward pass; None takes the task's.
        device: auto, cpu, mps, cuda or cuda:N.
        storage: URL of the database; None takes ``LRSEARCH_STORAGE``, else ``sqlite:///lrsearch.db``.
        data_dir: folder of the data sets of the tasks that come with lrsearch.

    Raises:
        InputError: if an argument, or the task, cannot be used.
    """
    loaded = load(task, data_dir)
    content = {
        "name": "range-test",
        "task": stored_name(task),
        "trials": 1,
        "optimizer": as_table(optimizer),
        "run": {"device": device},
        **given(groups=groups, batch_size=batch_size),
    }
    spec = resolved(spec_from(content, "lrsearch.range_test"), loaded)
    plan = RangeTestPlan(growth, low, high, steps, epochs, seeds, zoom)
    with foreign_warnings_hidden(), database_at(storage) as database:
        return RangeTestResult(find_range(database, spec, loaded, load_onto_device(spec, loaded), plan))
