"""``lrsearch report`` and ``lrsearch plot``: a study as a page, or one of its figures as a file."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.parameters import StorageOption, StudyArgument, command, open_storage_to_read, run_command

if TYPE_CHECKING:
    from lrsearch.review.facts import StudyFacts
    from lrsearch.review.report.commands import Commands
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database

SAMPLE = 10  # stopped trials that the command in a report audits


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(report)
    app.command()(plot)


def report(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Names of stored studies; several are compared.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Page to write.")] = Path(
        "report.html"
    ),
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    storage: StorageOption = None,
) -> None:
    """Write a study's report: one HTML file that needs no network.

    [b]Example[/]: lrsearch report mnist-tpe -o mnist.html
    """
    from lrsearch.review.output import check_text_output, write_text
    from lrsearch.review.report.comparison_page import comparison_page
    from lrsearch.review.report.page import report_page

    check_text_output(output)
    names = list(dict.fromkeys(studies))
    with open_storage_to_read(storage) as database:
        facts = [_facts(database, name) for name in names]
    if len(facts) == 1:
        content = report_page(facts[0], _commands(facts[0].spec, storage))
    else:
        content = comparison_page(facts)
    write_text(output, content)
    typer.echo(f"Report: {output}")
    if show and not webbrowser.open(output.resolve().as_uri()):
        typer.echo("There is no browser to open it with here.")


def plot(
    study: StudyArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Which figure; a wrong name lists all.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="FILE.html, .png or .svg.")],
    storage: StorageOption = None,
) -> None:
    """Draw one figure of a study's report into a file.

    [b]Example[/]: lrsearch plot mnist-tpe loss-over-lr -o loss.svg
    """
    from lrsearch.review.output import check_figure_output
    from lrsearch.review.report.catalogue import figures
    from lrsearch.review.report.files import write_figures
    from lrsearch.review.report.trials import ShownStudy

    check_figure_output(output)
    with open_storage_to_read(storage) as database:
        facts = _facts(database, study)
    write_figures(facts.spec.name, figures(ShownStudy(facts), kind), output)
    typer.echo(f"Drawn: {output}")


def _facts(database: "Database", name: str) -> "StudyFacts":
    from lrsearch.review.facts import study_facts
    from lrsearch.service.studies import stored_spec
    from lrsearch.storage.studies import find_study

    record = find_study(database, name)
    return study_facts(database, record, stored_spec(record))


def _commands(spec: "StudySpec", storage: str | None) -> "Commands":
    from lrsearch.review.advice import how_to_confirm
    from lrsearch.review.report.commands import Commands
    from lrsearch.spec import is_trained_by_commands, references
    from lrsearch.storage.masking import masked

    shown = None if storage is None else masked(storage)
    audit = command("audit", spec.name, storage, references(spec))
    return Commands(
        go_on=run_command(spec, storage),
        confirm=how_to_confirm(spec, shown),
        audit=f"{audit} --sample {SAMPLE}" if is_trained_by_commands(spec) else None,
        report=command("report", spec.name, storage),
        trials=f"{command('trials', spec.name, storage)} --format csv",
        storage=shown,
    )
