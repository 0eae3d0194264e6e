"""The figures of the report by the names that the command ``lrsearch plot`` knows."""

from collections.abc import Callable, Mapping

from lrsearch.errors import UnknownNameError
from lrsearch.review.report.figure import Absent, Figure
from lrsearch.review.report.importance import importance
from lrsearch.review.report.losses import curves, loss_over_lr
from lrsearch.review.report.parallel import knobs, parallel
from lrsearch.review.report.progress import history, kinds
from lrsearch.review.report.pruning import pruning
from lrsearch.review.report.timeline import timeline
from lrsearch.review.report.trajectories import trajectories
from lrsearch.review.report.trials import ShownStudy

FIGURES: Mapping[str, Callable[[ShownStudy], list[Figure | Absent]]] = {
    "loss-over-lr": loss_over_lr,
    "curves": curves,
    "trajectories": trajectories,
    "history": history,
    "kinds": kinds,
    "importance": importance,
    "parallel": parallel,
    "knobs": knobs,
    "pruning": pruning,
    "timeline": timeline,
}


def figures(study: ShownStudy, kind: str) -> list[Figure | Absent]:
    """Return the figures of a kind.

    Raises:
        UnknownNameError: if there is no such kind.
    """
    if kind not in FIGURES:
        raise UnknownNameError("kind of figure", kind, FIGURES)
    return FIGURES[kind](study)
