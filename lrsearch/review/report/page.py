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
        _section("losses", "Which learning rate", _blocks(drawn["loss-over-lr"])),
        _section("learning", "How the trials learned", _blocks(drawn["curves"])),
        _section("schedules", "Schedules of the best trials", _blocks(drawn["trajectories"])),
        _section("progress", "How the search went on", _pair(drawn["history"]), _blocks(drawn["kinds"])),
        _section(
            "parameters",
            "Which parameters matter",
            _blocks(drawn["importance"]),
            _blocks(drawn["parallel"]),
            _folded(drawn["knobs"]),
        ),
        pruning_section(study, drawn["pruning"], commands),
        _section("workers", "Workers", _blocks(drawn["timeline"])),
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
        f"{spec.task}, {spec.optimizer.name}, {study.epochs} epochs, sampler {spec.sampler}, "
        f"pruner {spec.pruner}, seed {spec.seed}; begun {study.facts.created_at[:16].replace('T', ' ')} UTC"
    )
    return f'<p class="over">lrsearch report</p><h1>{escape(spec.name)}</h1>{paragraph(words, "subtitle")}'


def _navigation() -> str:
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in SECTIONS)
    return f'<nav aria-label="Sections">{links}</nav>'


def _section(name: str, title: str, *blocks: str) -> str:
    return f'<section id="{name}"><h2>{title}</h2>{"".join(blocks)}</section>'


def _blocks(figures: Sequence[Figure | Absent]) -> str:
    return "".join(map(figure_block, figures))


def _pair(figures: Sequence[Figure | Absent]) -> str:
    """Return figures that stand side by side where there is room."""
    return f'<div class="pair">{_blocks(figures)}</div>'


def _folded(figures: Sequence[Figure | Absent]) -> str:
    """Return figures behind a line that opens them; those that are absent are left out."""
    drawn = [figure for figure in figures if isinstance(figure, Figure)]
    words = f"Knobs of each schedule kind ({len(drawn)} figure{'' if len(drawn) == 1 else 's'})"
    return f"<details><summary>{words}</summary>{_blocks(drawn)}</details>" if drawn else ""


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
