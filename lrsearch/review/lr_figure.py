"""Validation loss over the learning rate, a colour for each kind of schedule."""

from html import escape
from typing import Any

from lrsearch.review.facts import StudyFacts
from lrsearch.review.note_wording import complete_trials
from lrsearch.spec import hyperparameters_by_part


def lr_figure(facts: StudyFacts) -> Any:
    """Return plotly's figure of the complete trials: the losses of others are those of fewer epochs."""
    import plotly.graph_objects as go  # here, because most of what reviews needs none

    points: dict[str, list[tuple[float, float, str]]] = {}
    for trial in complete_trials(facts):
        for part, each in hyperparameters_by_part(facts.spec, trial.params).items():
            kind = each.kind if part is None else f"{part}: {each.kind}"
            points.setdefault(kind, []).append((each.lr, trial.value or 0.0, f"trial {trial.number}"))
    figure = go.Figure()
    for kind, found in sorted(points.items()):
        lrs, losses, names = zip(*found, strict=True)
        figure.add_scatter(x=lrs, y=losses, text=names, name=escape(kind), mode="markers")
    all_positive = all(loss > 0 for found in points.values() for _lr, loss, _name in found)
    figure.update_layout(
        title="Validation loss over lr, by kind of schedule",
        xaxis={"title": "lr", "type": "log"},
        yaxis={"title": "validation loss", "type": "log" if all_positive else "linear"},
        showlegend=True,
    )
    return figure
