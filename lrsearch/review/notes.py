"""What lrsearch adds to a study's page in Optuna's dashboard: a note, and figures that it lacks."""

import logging
from typing import Any

import optuna

from lrsearch.results import in_one_line
from lrsearch.review.facts import StudyFacts, study_facts
from lrsearch.review.note_wording import study_note
from lrsearch.review.report.catalogue import FIGURES
from lrsearch.review.report.figure import Figure
from lrsearch.review.report.plotly_drawing import custom_plot
from lrsearch.review.report.trials import ShownStudy
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.storage.studies import StudyRecord

MARK = "*Written by lrsearch after each run; what stands above this line is kept.*"
PLOTS = ("loss-over-lr", "trajectories", "kinds", "pruning")  # of the report; the dashboard lacks them
MOST_TRIALS = 1000  # of a study with figures; the report has them for larger ones too

_log = logging.getLogger(__name__)


def annotate(database: Database, record: StudyRecord, spec: StudySpec) -> None:
    """Write the note and the figures of a study; a failure is logged, as no run shall fail for it.

    Args:
        database: where the study is stored.
        record: the study.
        spec: its resolved specification.
    """
    try:
        facts = study_facts(database, record, spec)
        write_note(database, record.name, study_note(facts))
        for figure in _figures(facts):
            attach_figure(database, record.name, custom_plot(figure), f"lrsearch-{figure.name}")
    except Exception as error:  # whatever it is: what the run has found is stored
        reason = database.address.mask(in_one_line(error))
        _log.warning("the note of study %r was not written: %s", record.name, reason)


def write_note(database: Database, name: str, markdown: str) -> None:
    """Write the note of a study below what its readers wrote into it.

    Args:
        database: where the study is stored.
        name: of the study.
        markdown: replaces what the last call wrote.
    """
    from optuna_dashboard import get_note, save_note  # here, because it takes a second

    study = _live(database, name)
    above = get_note(study).partition(MARK)[0].rstrip()
    save_note(study, "\n\n".join(filter(None, [above, MARK, markdown])))


def attach_figure(database: Database, name: str, figure: Any, figure_id: str) -> None:
    """Add a figure to a study, or replace the one of the same id.

    Args:
        database: where the study is stored.
        name: of the study.
        figure: plotly's.
        figure_id: of letters, digits, hyphens, underscores, colons and periods.
    """
    from optuna_dashboard import save_plotly_graph_object  # here, because it takes a second

    save_plotly_graph_object(_live(database, name), figure, graph_object_id=figure_id)


def _figures(facts: StudyFacts) -> list[Figure]:
    """Return the figures that can be drawn; of a large study none, as storing them would take too long."""
    if len(facts.trials) > MOST_TRIALS:
        return []
    study = ShownStudy(facts)
    return [each for kind in PLOTS for each in FIGURES[kind](study) if isinstance(each, Figure)]


def _live(database: Database, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=database.optuna_storage)
