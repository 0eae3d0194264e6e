"""Commands that say what can be learned and with which schedules, and fetch data."""

from typing import Annotated

import typer

from lrsearch.cli.parameters import DataDirOption


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(tasks)
    app.command()(schedules)
    group = typer.Typer(help="Data sets.\n\n[b]Example[/]: lrsearch data fetch mnist", no_args_is_help=True)
    group.command()(fetch)
    group.callback()(lambda: None)  # keeps the group although it has one command
    app.add_typer(group, name="data")


def tasks() -> None:
    """List the tasks that come with lrsearch.

    [b]Example[/]: lrsearch tasks
    """
    from lrsearch.cli.table import print_table
    from lrsearch.tasks import task_info, task_names

    rows = []
    for name in task_names():
        info = task_info(name)
        source = f"downloads {info.dataset}" if info.needs_download else "bundled"
        rows.append((name, info.summary, info.batch_size, info.epochs, source))
    print_table(("task", "what", "batch size", "epochs", "data"), rows)


def schedules() -> None:
    """List the schedule kinds, with formula and parameters.

    [b]Example[/]: lrsearch schedules
    """
    from rich.console import Console
    from rich.markup import escape

    from lrsearch.schedules import DEFAULT_KINDS, KINDS

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        "Factor on the peak lr; E epochs of n steps, N = E n; e the epoch, t the step, both from 0."
    )
    console.print("A star marks the kinds that a study searches unless told otherwise.\n")
    for kind in KINDS.values():
        star = " *" if kind.name in DEFAULT_KINDS else ""
        warmup = "" if kind.takes_warmup else ", takes no warm-up"
        console.print(f"[bold]{kind.name}[/]{star} [dim](per {kind.clock}{warmup})[/]")
        console.print(f"    {escape(kind.formula_text)}")
        for knob in kind.knobs:
            searched = f"0..epochs/{knob.up_to_epochs}" if knob.up_to_epochs else str(knob.default)
            console.print(f"    [cyan]{knob.name}[/]: {escape(searched)}")


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist or fashion-mnist.")],
    data_dir: DataDirOption = None,
) -> None:
    """Download a data set and check it.

    [b]Example[/]: lrsearch data fetch mnist
    """
    from lrsearch.tasks import files

    folder = files.fetch(name, files.data_dir(data_dir))
    typer.echo(f"{name} is complete in {folder}")
