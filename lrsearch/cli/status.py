"""Commands that watch over studies and their workers: ``status`` and ``worker-health``."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lrsearch.cli.parameters import StorageOption, open_existing_storage, storage_exists

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lrsearch.storage.database import Database

REFRESH_S = 2.0
RETRY_S = 10.0
NO_STUDY = "No study yet. Start one: lrsearch optimize digits-tpe"

OptionalStudy = Annotated[
    str | None,
    typer.Argument(metavar="STUDY", help="Name of a stored study; else all.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command("worker-health")(worker_health)


def status(
    study: OptionalStudy = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")
    ] = False,
    format: Annotated[Literal["table", "json"], typer.Option(help="How to print.")] = "table",  # noqa: A002 # the option's name
    storage: StorageOption = None,
) -> None:
    """Show how far studies are, how fast, and which workers train them.

    [b]Example[/]: lrsearch status mnist-tpe --watch
    """
    if study is None and not watch and not storage_exists(storage):
        typer.echo(_as_json({"storage": _masked(storage), "studies": []}) if format == "json" else NO_STUDY)
        return
    with open_existing_storage(storage, read_only=True, retry_s=RETRY_S) as database:
        if format == "json":
            _print_json(database, study, watch=watch)
        else:
            _print_tables(database, study, watch=watch)


def worker_health(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a worker.")],
    storage: StorageOption = None,
) -> None:
    """Say by the exit code whether a worker is alive: 0 if it is, 1 if not. For probes.

    [b]Example[/]: lrsearch worker-health node-1
    """
    from lrsearch.service.worker_health import worker_health as health

    with open_existing_storage(storage, read_only=True, retry_s=RETRY_S) as database:
        found = health(database, name)
    typer.echo(found.words)
    if not found.alive:
        raise typer.Exit(1)


def _print_json(database: "Database", study: str | None, *, watch: bool) -> None:
    from lrsearch.service.overview import overview, overview_row, study_overview

    def show() -> None:
        found = overview(database) if study is None else [study_overview(database, study)]
        content = {"storage": database.masked_url, "studies": [overview_row(each) for each in found]}
        typer.echo(_as_json(content, indent=None if watch else 2))

    show()
    if watch:
        _repeat(show)


def _print_tables(database: "Database", study: str | None, *, watch: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from lrsearch.cli.table import WHOLE_LINES

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WHOLE_LINES
    picture = _picture(database, study)
    if not watch or not console.is_terminal:
        console.print(picture)
        if watch:
            _repeat(lambda: console.print("", _watched(database, study), sep="\n"))
        return
    with Live(picture, console=console, auto_refresh=False, screen=True) as live:
        _repeat(lambda: live.update(_watched(database, study), refresh=True))


def _repeat(show: Callable[[], object]) -> None:
    try:
        while True:
            time.sleep(REFRESH_S)
            show()
    except KeyboardInterrupt:
        raise typer.Exit from None


def _watched(database: "Database", study: str | None) -> "RenderableType":
    """Return what to show, also of a database that does not answer for a while."""
    from rich.text import Text

    from lrsearch.errors import DatabaseLostError

    try:
        return _picture(database, study)
    except DatabaseLostError as error:
        return Text(str(error))


def _picture(database: "Database", study: str | None) -> "RenderableType":
    from rich.text import Text

    from lrsearch.cli.standing import picture_of_all, picture_of_one
    from lrsearch.service.overview import overview, study_overview

    if study is not None:
        return picture_of_one(study_overview(database, study))
    found = overview(database)
    return picture_of_all(found) if found else Text(NO_STUDY)


def _as_json(content: Any, indent: int | None = 2) -> str:
    import json

    from lrsearch.review.listing import finite

    return json.dumps(finite(content), indent=indent, allow_nan=False)


def _masked(storage: str | None) -> str:
    from lrsearch.cli.parameters import storage_url
    from lrsearch.storage.address import DEFAULT_URL
    from lrsearch.storage.masking import masked

    return masked(storage_url(storage) or DEFAULT_URL)
