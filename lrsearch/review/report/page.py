"""The page of a study: one file that needs nothing beside it."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from lrsearch.review.facts import StudyFacts
from lrsearch.review.report.catalogue import FIGURES
from lrsearch.review.report.commands import Commands
from lrsearch.review.report.figure import Absent, Figure
from lrsearch.review.report.html import figure_block, paragraph
from lrsearch.review.report.pruning_section import pruning_section
from lrsearch.review.report.reproduction import reproduction
from lrsearch.review.report.trial_table import trial_table
from lrsearch.review.report.trials import ShownStudy
from lrsearch.review.report.verdict_section import verdict_section

SECTIONS = (
    ("verdict", "Verdict"),
    ("losses", "Learning rate"),
    ("learning", "Curves"),
    ("schedules", "Schedules"),
    ("progress", "Progress"),
    ("parameters", "Parameters"),
    ("stopping", "Pruning"),
    ("workers", "Workers"),
    ("trials", "Trials"),
    ("reproduce", "Reproduce"),
)


def report_page(facts: StudyFacts, commands: Commands) -> str:
    """Return the page of a study.

    Args:
        facts: all that is stored about it.
        commands: about the study, for those who read the page.
    """
    study = ShownStudy(facts)
    drawn = {kind: draw(study) for kind, draw in FIGURES.items()}
    body = [
        verdict_section(study, commands),
        _section("losses", "Which learning rate", drawn["loss-over-lr"]),
        _section("learning", "How the trials learned", drawn["curves"]),
        _section("schedules", "Schedules of the best trials", drawn["trajectories"]),
        _section("progress", "How the search went on", [*drawn["history"], *drawn["kinds"]]),
        _section("parameters", "Which parameters matter", [*drawn["importance"], *drawn["parallel"]], drawn["knobs"]),
        pruning_section(study, drawn["pruning"], commands),
        _section("workers", "Workers", drawn["timeline"]),
        trial_table(study, commands.trials),
        reproduction(study, commands),
    ]
    return document(f"lrsearch: {study.spec.name}", _header(study) + _navigation(), "\n".join(body))


def document(title: str, head: str, body: str, *, plots: bool = True) -> str:
    """Return a whole HTML file around a body.

    Args:
        title: of the window.
        head: what stands above the sections, as HTML.
        body: the sections, as HTML.
        plots: whether there are figures, which take plotly.js to be drawn.
    """
    from plotly.offline import get_plotlyjs

    library = f"<script>{get_plotlyjs()}</script>\n" if plots else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_file('page.css')}</style>\n</head>\n<body>\n"
        f"<header>{head}</header>\n<main>\n{body}\n</main>\n"
        f"{library}<script>\n{_file('page.js')}</script>\n</body>\n</html>\n"
    )


def figures_page(title: str, figures: Sequence[Figure | Absent]) -> str:
    """Return a page of figures alone."""
    blocks = "".join(figure_block(figure, heading="h2") for figure in figures)
    return document(title, f"<h1>{escape(title)}</h1>", f"<section>{blocks}</section>")


def _header(study: ShownStudy) -> str:
    spec = study.spec
    words = (
        f"{spec.task}, {spec.optimizer.name}, {study.epochs} epochs, sampler {spec.sampler}, pruner {spec.pruner}, "
        f"seed {spec.seed}; begun {study.facts.created_at[:16].replace('T', ' ')} UTC"
    )
    return f"<h1>{escape(spec.name)}</h1>{paragraph(words, 'subtitle')}"


def _navigation() -> str:
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in SECTIONS)
    return f'<nav aria-label="Sections">{links}</nav>'


def _section(
    name: str, title: str, figures: Sequence[Figure | Absent], folded: Sequence[Figure | Absent] = ()
) -> str:
    blocks = "".join(map(figure_block, figures))
    drawn = [figure for figure in folded if isinstance(figure, Figure)]
    if drawn:
        inner = "".join(map(figure_block, drawn))
        words = f"Knobs of each schedule kind ({len(drawn)} figures)"
        blocks += f"<details><summary>{words}</summary>{inner}</details>"
    return f'<section id="{name}"><h2>{title}</h2>{blocks}</section>'


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
