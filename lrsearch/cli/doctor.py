"""``lrsearch doctor``: looks at this machine and its database."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lrsearch.cli.parameters import DataDirOption, StorageOption, storage_url

if TYPE_CHECKING:
    from lrsearch.service.doctor import Finding

STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    device: Annotated[str, typer.Option(help="auto (all GPUs), cpu, mps, cuda or cuda:N.")] = "auto",
    data_dir: DataDirOption = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="How to print.")] = "table",  # noqa: A002 # the option's name
    storage: StorageOption = None,
) -> None:
    """Look at GPU, packages, database, data and disks: what is wrong, and what to do. Nothing is changed.

    Leaves with 0 if nothing is wrong, else with 1.

    [b]Example[/]: lrsearch doctor --device cpu
    """
    from lrsearch.service.doctor import Level, examine

    findings = list(examine(storage_url(storage), data_dir, device))
    if format == "json":
        _print_json(findings)
    else:
        _print_table(findings)
    if any(finding.level is Level.WRONG for finding in findings):
        raise typer.Exit(1)


def _print_json(findings: Iterable["Finding"]) -> None:
    from lrsearch.review.listing import as_json

    rows = [
        {"check": each.check, "level": each.level.value, "found": each.found, "advice": each.advice}
        for each in findings
    ]
    typer.echo(as_json(rows))


def _print_table(findings: Iterable["Finding"]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lrsearch.cli.table import WHOLE_LINES

    table = Table("check", "result", "what was found", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for each in findings:
        style = STYLES[each.level.value]
        table.add_row(Text(each.check), Text(each.level.value, style=style), Text(each.found))
        if each.advice is not None:
            table.add_row("", "", Text(f"-> {each.advice}", style=style))
    console = Console()
    if not console.is_terminal:
        console.width = WHOLE_LINES
    console.print(table)
