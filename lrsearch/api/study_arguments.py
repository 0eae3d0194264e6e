"""What an adapter's search is given, checked before there is a study: a wrong name costs no trial."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from lrsearch.api.trial import Trial
from lrsearch.api.trials import StudyArguments
from lrsearch.errors import InputError, UnknownNameError

_REPORTED = frozenset(
    name
    for name, each in signature(Trial.report).parameters.items()
    if each.kind is not Parameter.VAR_KEYWORD
)


def check_study_arguments(search: Callable[..., Any], study: Mapping[str, object]) -> None:
    """Refuse what a search in one call does not take of the study.

    Args:
        search: the adapter's function, for its own arguments, and for messages.
        study: its further arguments by name.

    Raises:
        UnknownNameError: if there is no argument of that name.
        InputError: if the kinds are one text.
    """
    known = StudyArguments.__annotations__
    own = [
        name for name, each in signature(search).parameters.items() if each.kind is not Parameter.VAR_KEYWORD
    ]
    for name in study:
        if name not in known:
            raise UnknownNameError(
                f"argument of {search.__module__}.{search.__name__}:", name, [*own, *known]
            )
    if isinstance(kinds := study.get("kinds"), str):
        raise InputError(
            f"kinds are the names of schedule kinds, such as kinds=[{kinds!r}], but got {kinds!r}"
        )


def checked_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the names of further metrics.

    Args:
        metrics: as an adapter was given them.

    Raises:
        InputError: if they are one text, or a name is one of what every report has.
    """
    if isinstance(metrics, str):
        raise InputError(f"metrics are names, such as metrics=({metrics!r},), but got {metrics!r}")
    if taken := [name for name in metrics if name in _REPORTED]:
        raise InputError(
            f"metrics are figures beside what every report has, but got {taken[0]!r}, which it has: leave it "
            "out, or log the figure under another name"
        )
    return tuple(metrics)
