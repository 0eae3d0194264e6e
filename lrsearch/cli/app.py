"""The command ``lrsearch``: its sub-commands, and what a failure looks like."""

import sys
from typing import Annotated

import typer
from rich.console import Console

import lrsearch
from lrsearch.cli import (
    confirm,
    dashboard,
    data,
    database,
    doctor,
    export,
    gc,
    optimize,
    range_test,
    report,
    service,
    status,
    studies,
    train,
    worker,
)
from lrsearch.errors import InputError, LrsearchError, StudyStoppedError
from lrsearch.foreign_warnings import foreign_warnings_hidden

EXIT_INTERNAL = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 3

app = typer.Typer(
    name="lrsearch",
    help="Finds the learning rate and the learning-rate schedule that train your PyTorch model best.\n\n"
    "[b]Example[/]: lrsearch optimize digits-tpe",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lrsearch {lrsearch.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Find the learning rate and the learning-rate schedule that train your PyTorch model best."""


_MODULES = (
    optimize,
    range_test,
    confirm,
    report,
    export,
    train,
    service,
    worker,
    status,
    studies,
    dashboard,
    data,
    database,
    doctor,
    gc,
)
for module in _MODULES:
    module.register(app)


def main() -> None:
    """Run the command line; a user's mistake ends in a few lines, never in a traceback."""
    try:
        with foreign_warnings_hidden():
            app(prog_name="lrsearch")
    except LrsearchError as error:
        _explain(error)
        sys.exit(_exit_code(error))
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted.")
        sys.exit(optimize.EXIT_INTERRUPTED)


def _explain(error: LrsearchError) -> None:
    console = Console(stderr=True, soft_wrap=True)
    console.print("[bold red]Error:[/]", end=" ")
    console.print(str(error), markup=False, highlight=False)


def _exit_code(error: LrsearchError) -> int:
    if isinstance(error, InputError):
        return EXIT_BAD_INPUT
    return EXIT_STOPPED if isinstance(error, StudyStoppedError) else EXIT_INTERNAL
