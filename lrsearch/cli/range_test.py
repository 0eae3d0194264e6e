"""``lrsearch range-test``: one short run with a rising learning rate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lrsearch.cli.drafts import complete, find_draft
from lrsearch.cli.parameters import AllowTaskOption, DataDirOption, StorageOption, TaskOption, open_storage
from lrsearch.errors import UnknownNameError

if TYPE_CHECKING:
    from lrsearch.lr_range import RangeTest
    from lrsearch.service.range_test import RangeTestPlan
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData

_EXAMPLES = """Raise the learning rate step by step and suggest one from where the loss falls.

[b]Examples[/]

lrsearch range-test --task digits-mlp

lrsearch range-test --task digits-mlp --optimizer Adam --plot range-test.html

lrsearch range-test digits-tpe --zoom [dim]# a study's task, optimizer and groups[/]
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("range-test", help=_EXAMPLES)(range_test)


def range_test(
    file_or_study: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE_OR_STUDY",
            help="A study file or a study's name: its task, optimizer and groups are tested.",
            show_default=False,
        ),
    ] = None,
    task: TaskOption = None,
    allow_task: AllowTaskOption = None,
    optimizer: Annotated[str | None, typer.Option(help="Optimizer of torch.optim, such as Adam.")] = None,
    growth: Annotated[
        Literal["exponential", "linear"], typer.Option(help="How lr grows with the updates.")
    ] = "exponential",
    low: Annotated[float, typer.Option("--min", help="lr of the first update.")] = 1e-6,
    high: Annotated[float, typer.Option("--max", help="lr after the last update.")] = 10.0,
    steps: Annotated[int | None, typer.Option(help="Updates; else 200.", show_default=False)] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data, instead of --steps.", show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs with weights and batch order of their own.")] = 3,
    zoom: Annotated[
        bool, typer.Option("--zoom", help="Test the zone in which the loss falls again, more slowly.")
    ] = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="Show the newest stored test of task and optimizer instead.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw into FILE.html, .png or .svg.", metavar="FILE", show_default=False),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Raise the learning rate step by step and suggest one from where the loss falls."""
    from lrsearch.review.output import check_figure_output
    from lrsearch.review.range_test_figures import write_figure
    from lrsearch.service.optimize import load_onto_device
    from lrsearch.service.range_test import RangeTestPlan

    plan = RangeTestPlan(growth, low, high, steps, epochs, seeds, zoom)
    given = {"task": task, "optimizer.name": optimizer, "run.device": device}
    overrides = {key: value for key, value in given.items() if value is not None}
    allowed = (*(allow_task or ()), *([task] if task else ()))
    if plot is not None:
        check_figure_output(plot)
    with open_storage(storage, create=not stored) as database:
        draft = find_draft(database, file_or_study, overrides)
        if stored:
            test = newest(database, draft.spec)
        else:
            spec, loaded = complete(draft, allowed, data_dir)
            test = run_with_progress(database, spec, loaded, load_onto_device(spec, loaded), plan)
    print_range_test(test)
    if plot is not None:
        write_figure(test, plot)
        typer.echo(f"\nDrawn: {plot}")


def newest(database: "Database", spec: "StudySpec") -> "RangeTest":
    """Return the newest stored test of a study's task with its optimizer.

    Raises:
        UnknownNameError: if there is none.
    """
    from lrsearch.storage.range_tests import list_range_tests

    tests = [record.test for record in list_range_tests(database)]
    for test in tests:
        if (test.task, test.settings["optimizer"]) == (spec.task, spec.optimizer.name):
            return test
    known = {f"{test.task} with {test.settings['optimizer']}" for test in tests}
    raise UnknownNameError("stored range test", f"{spec.task} with {spec.optimizer.name}", known)


def run_with_progress(
    database: "Database", spec: "StudySpec", task: "Task", data: "TrainingData", plan: "RangeTestPlan"
) -> "RangeTest":
    """Run and store a range test behind a bar, where there is a terminal to draw it on."""
    from rich.console import Console
    from rich.progress import Progress

    from lrsearch.lr_range import RangeTest
    from lrsearch.service.range_test import run

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("range test")
        for item in run(database, spec, task, data, plan):
            if isinstance(item, RangeTest):
                return item
            progress.update(bar, total=item.steps, completed=item.step, description=f"lr {item.lr:.2g}")
    raise RuntimeError("a range test yields its result at the last")


def print_range_test(test: "RangeTest") -> None:
    """Print a range test: the sketch of its curve, zones and suggestions, and lines for a study file."""
    from lrsearch.review.range_test_sketch import sketch
    from lrsearch.review.range_test_wording import range_test_lines, space_lines

    for line in (*sketch(test), "", *range_test_lines(test)):
        typer.echo(line)
    lines = space_lines(test)
    if lines:
        typer.echo("\nIn a study file:\n")
        for line in lines:
            typer.echo(line)
