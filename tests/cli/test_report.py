"""``lrsearch report`` and ``lrsearch plot``: files from stored studies, and refusals in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch as package
from lrsearch.retrainings import Candidate, Retraining, Run
from lrsearch.review.report.catalogue import FIGURES
from lrsearch.storage.database import open_database
from lrsearch.storage.retrainings import key_of, record_confirmation, record_retrainings
from lrsearch.storage.studies import find_study
from tests.cli.commands import refused, succeed


def test_a_report_is_written(finished):
    """At the path that is given, else report.html; with the commands for this database."""
    assert succeed("report", finished).out == "Report: report.html\n"
    page = Path("report.html").read_text()
    assert "<h1>fin ished</h1>" in page
    assert "lrsearch confirm &#x27;fin ished&#x27;" in page
    url = f"sqlite:///{Path('lrsearch.db').resolve()}"
    assert succeed("report", finished, "-o", "other.html", "--storage", url).out == "Report: other.html\n"
    assert f"lrsearch confirm &#x27;fin ished&#x27; --storage {url}" in Path("other.html").read_text()


def test_a_confirmation_that_is_stored_is_reported(finished):
    """The newest one, with the winner in the place of the best trial."""
    point = {"lr": 0.1, "kind": "constant", "warmup_fraction": 0.0}
    candidate, seeds = Candidate("the usual", point), (7, 8)
    with open_database() as database:
        study = find_study(database, finished).uuid
        runs = {
            key_of(Run(point, seed, 2, test=True)): Retraining(
                point, seed, 2, (0.5, 0.25 + seed / 1000), test={"loss": 0.3}
            )
            for seed in seeds
        }
        record_retrainings(database, study, runs)
        record_confirmation(database, study, [candidate], seeds, 2, ["a note"])
    succeed("report", finished)
    page = Path("report.html").read_text()
    assert "Winner: the usual" in page
    assert "A note." in page
    assert "Not confirmed" not in page


def test_a_study_of_which_nothing_ran_is_reported(pending):
    """It says how to train it."""
    succeed("report", pending)
    assert "go on with: lrsearch optimize &#x27;pen ding&#x27;" in Path("report.html").read_text()


def test_several_studies_are_compared(finished, pending):
    """In one page; one that is named twice counts once."""
    succeed("report", finished, pending, finished)
    page = Path("report.html").read_text()
    assert "<h1>2 studies compared</h1>" in page


def test_a_report_is_opened_if_asked(finished, monkeypatch):
    """In the browser, by its address; where there is none it is said."""
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    assert succeed("report", finished, "--open").out == "Report: report.html\n"
    assert opened == [Path("report.html").resolve().as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda _address: False)
    assert "no browser" in succeed("report", finished, "--open").out


def test_an_unknown_study_is_refused(finished):
    """With the nearest name, before anything is written; also as one of several."""
    assert "unknown study 'finished'. Did you mean 'fin ished'?" in refused("report", "finished")
    assert "unknown study 'x'" in refused("report", finished, "x")
    assert "unknown study 'x'" in refused("plot", "x", "curves", "-o", "x.png")
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("output", "words"),
    [("missing/report.html", "there is no missing"), ("folder", "folder is a folder; name a file in it")],
)
def test_an_output_that_cannot_be_written_is_refused(finished, output, words):
    """In one line."""
    Path("folder").mkdir()
    message = refused("report", finished, "-o", output)
    assert words in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("ending", ["html", "svg", "png"])
def test_a_figure_is_drawn(finished, ending):
    """As a page or an image."""
    path = Path(f"curves.{ending}")
    assert succeed("plot", finished, "curves", "-o", path).out == f"Drawn: {path}\n"
    assert {"html": b"<figure", "png": b"PNG", "svg": b"<svg"}[ending] in path.read_bytes()


def test_a_figure_is_refused_that_does_not_exist_or_has_nothing_to_show(finished, pending):
    """With all that exist; with the reason; with the endings that are written."""
    message = refused("plot", finished, "curve", "-o", "x.png")
    assert "Did you mean 'curves'?" in message
    assert all(name in message for name in FIGURES)
    assert "No trial has trained an epoch yet" in refused("plot", pending, "curves", "-o", "x.png")
    assert ".html, .png and .svg" in refused("plot", finished, "curves", "-o", "x.pdf")
    Path("folder.svg").mkdir()
    assert "folder.svg is a folder; name a file in it" in refused(
        "plot", finished, "curves", "-o", "folder.svg"
    )
    assert not Path("x.png").exists()


def test_a_renamed_study_keeps_its_report(finished):
    """Whatever it is called by now."""
    with open_database() as database:
        name, evil = finished, "<script>alert(1)</script>"
        study_id = database.optuna_storage.get_study_id_from_name(name)
        import sqlalchemy as sa

        rename = sa.text("UPDATE studies SET study_name = :new WHERE study_id = :id")
        database.transaction(lambda connection: connection.execute(rename, {"new": evil, "id": study_id}))
    succeed("report", evil)
    page = Path("report.html").read_text()
    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize("words", [("report",), ("plot", "curves", "-o", "curves.html")], ids=" ".join)
def test_no_torch_is_imported(finished, words):
    """Whoever reads a result does not wait for it."""
    command, *rest = words
    program = (
        "import sys\nfrom lrsearch.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "print('torch' in sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])}
    arguments = [sys.executable, "-c", program, command, finished, *rest]
    run = subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment)
    assert run.stdout.splitlines()[-1] == "False"
