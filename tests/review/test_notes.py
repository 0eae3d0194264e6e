"""What a study's page in Optuna's dashboard gets from us, and that its readers' own words stay."""

import json
import logging

import optuna
import plotly.graph_objects as go
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from lrsearch.review import notes
from lrsearch.review.notes import MARK, annotate, attach_figure, write_note
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import spec_from
from lrsearch.storage.studies import delete_study
from tests.service.arrays import FormulaArray

CONTENT = {"name": "s", "task": "digits-mlp", "trials": 4, "epochs": 3, "sampler": "random", "pruner": "none"}


@pytest.fixture
def study(database):
    """A study, opened and not run, in a database of each kind in turn."""
    return open_study(database, resolved(spec_from(CONTENT, "test")))


@pytest.fixture
def live(database, study):
    """The same as Optuna has it."""
    return optuna.load_study(study_name=study.spec.name, storage=database.optuna_storage)


def figures(live):
    """Return the figures of a study by id, as the dashboard reads them."""
    attributes = live._storage.get_study_system_attrs(live._study_id)
    return {name: json.loads(figure) for name, figure in get_plotly_graph_objects(attributes).items()}


def test_a_run_leaves_a_note_and_figures(database, study, live):
    """With what the trials found; a second time replaces them."""
    *_progress, last = Search(database, study, FormulaArray(), lanes=2).run()
    for _time in range(2):
        annotate(database, study.record, study.spec)
        note = get_note(live)
        assert note.count(MARK) == note.count("Best trial") == 1
        assert f"**Best trial: {last.best.number}**" in note
        assert {"lrsearch-loss-over-lr", "lrsearch-trajectories", "lrsearch-kinds"} <= set(figures(live))
    over_lr = figures(live)["lrsearch-loss-over-lr"]
    drawn = sorted({loss for trace in over_lr["data"] for loss in trace["y"]})
    assert drawn == pytest.approx(sorted({trial.value for trial in live.trials}), rel=1e-4)
    assert over_lr["layout"]["title"]["text"]
    named = [trace["name"] for trace in over_lr["data"] if trace["showlegend"]]
    assert len(set(named)) == len(named) > 0


def test_a_study_without_a_complete_trial_gets_a_note_and_no_figure(database, study, live):
    """An empty picture would say nothing."""
    annotate(database, study.record, study.spec)
    assert "No trial is complete yet." in get_note(live)
    assert figures(live) == {}


def test_a_large_study_gets_a_note_alone(database, study, live, monkeypatch):
    """Its figures would take long to store; the report has them."""
    monkeypatch.setattr("lrsearch.review.notes.MOST_TRIALS", 1)
    list(Search(database, study, FormulaArray(), lanes=2).run())
    annotate(database, study.record, study.spec)
    assert "Best trial" in get_note(live)
    assert figures(live) == {}


def test_what_readers_wrote_is_kept(database, live):
    """Above our line; what stood below it is replaced, be it longer than what comes."""
    save_note(live, "My own *thoughts*.\n")
    write_note(database, "s", "first " * 1000)
    assert get_note(live) == f"My own *thoughts*.\n\n{MARK}\n\n{'first ' * 1000}"
    write_note(database, "s", "second")
    assert get_note(live) == f"My own *thoughts*.\n\n{MARK}\n\nsecond"


def test_a_note_without_readers_begins_with_our_line(database, live):
    """No empty lines stand above it."""
    write_note(database, "s", "first")
    write_note(database, "s", "second")
    assert get_note(live) == f"{MARK}\n\nsecond"


def test_any_figure_of_plotly_can_be_attached(database, live):
    """By its id, under which the next one replaces it, be it smaller."""
    surface = go.Figure(go.Surface(z=[[float(x * y) for x in range(40)] for y in range(40)]))
    attach_figure(database, "s", surface, "a-surface")
    attach_figure(database, "s", go.Figure(go.Pie(values=[1, 2])), "a.pie")
    assert {name: figure["data"][0]["type"] for name, figure in figures(live).items()} == {
        "a-surface": "surface",
        "a.pie": "pie",
    }
    attach_figure(database, "s", go.Figure(go.Bar(y=[3])), "a-surface")
    assert figures(live)["a-surface"]["data"][0]["type"] == "bar"


def test_a_note_that_cannot_be_written_fails_nothing(database, study, caplog):
    """The reason goes to the log, without a password."""
    delete_study(database, "s")
    annotate(database, study.record, study.spec)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "the note of study 's' was not written: UnknownNameError" in record.message


def test_the_log_keeps_passwords_out(created_postgresql_url, caplog, monkeypatch):
    """Whatever an error's text repeats."""
    from lrsearch.storage.database import open_database

    def fail(*_arguments):
        raise RuntimeError(f"cannot reach {created_postgresql_url}")

    monkeypatch.setattr(notes, "study_facts", fail)
    with open_database(created_postgresql_url) as database:
        study = open_study(database, resolved(spec_from(CONTENT, "test")))
        annotate(database, study.record, study.spec)
        [secret] = database.address.secrets
    assert "RuntimeError: cannot reach postgresql" in caplog.text
    assert secret not in caplog.text
