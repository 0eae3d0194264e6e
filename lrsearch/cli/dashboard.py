"""``lrsearch dashboard``: Optuna's dashboard on the database."""

from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.parameters import StorageOption, open_existing_storage

if TYPE_CHECKING:
    from lrsearch.storage.database import Database

RETRY_S = 5.0  # then the page says that it failed, and asks again by itself

_HELP = """Serve Optuna's dashboard on the stored studies until Ctrl-C.

It has no login, so it listens on this machine alone and changes nothing, unless told otherwise.

[b]Examples[/]

lrsearch dashboard mnist-tpe --open

lrsearch dashboard --port 8081
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(dashboard)


def dashboard(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY", help="A stored study, whose page is named; else the list.", show_default=False
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address or name of this machine to listen on.")] = "127.0.0.1",
    writable: Annotated[
        bool,
        typer.Option("--writable", help="Let visitors change, rename and delete studies, and tell trials."),
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    storage: StorageOption = None,
) -> None:
    """Serve Optuna's dashboard on the stored studies until Ctrl-C."""
    import webbrowser

    from lrsearch.cli.signals import stop_on_signal
    from lrsearch.service.dashboard import DashboardServer, is_local

    with (
        open_existing_storage(storage, read_only=not writable, retry_s=RETRY_S) as database,
        stop_on_signal("Closing the dashboard.") as stop_requested,
    ):
        page = _page(database, study)
        with DashboardServer(database, host, port, writable=writable) as server:
            if not is_local(host):
                typer.echo(_warning(writable=writable), err=True)
            address = f"{server.url}/dashboard/{page}"
            typer.echo(f"{database.masked_url}, {'writable' if writable else 'read-only'}: {address}")
            typer.echo("Ctrl-C ends it.", err=True)
            if open_browser:
                webbrowser.open(address)
            server.serve_until(stop_requested)


def _page(database: "Database", study: str | None) -> str:
    """Return the address of a study's page below the dashboard's."""
    from lrsearch.storage.studies import find_study, optuna_study_id

    return "" if study is None else f"studies/{optuna_study_id(database, find_study(database, study).uuid)}"


def _warning(*, writable: bool) -> str:
    may = "read, change, rename and delete all studies" if writable else "read all studies"
    return (
        f"Warning: the dashboard has no login; whoever reaches this machine may {may}. "
        "Safer: leave out --host and let others in through an SSH tunnel."
    )
