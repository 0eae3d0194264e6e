"""How far a search from Python is, on one line of the error output."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lrsearch.review.wording import number
from lrsearch.spec import StudySpec


@contextmanager
def progress_bar(spec: StudySpec, *, shown: bool) -> Iterator[Any]:
    """Show a bar while the block runs; Ctrl-C says how to go on.

    Args:
        spec: of the study whose trials are counted.
        shown: whether there is anything to see but that.

    Yields:
        the bar of tqdm.
    """
    with bar_of("trial", f"go on with name={spec.name!r}", shown=shown, total=spec.trials) as bar:
        yield bar


@contextmanager
def bar_of(unit: str, go_on: str, *, shown: bool, total: int | None = None) -> Iterator[Any]:
    """Show a bar while the block runs.

    Args:
        unit: what is counted.
        go_on: how to go on after Ctrl-C, in words.
        shown: whether there is anything to see but that.
        total: what is counted to; None where that is not known yet.

    Yields:
        the bar of tqdm.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook it advises a library of widgets, and does without
        from tqdm.auto import tqdm
    with tqdm(disable=not shown, unit=unit, total=total, mininterval=_seconds_between_pictures()) as bar:
        try:
            yield bar
        except KeyboardInterrupt:
            bar.write(f"interrupted; {go_on}", file=sys.stderr)
            raise


def advance(bar: Any, ended: int, trials: int, best: float | None) -> None:
    """Show how far a search is.

    Args:
        bar: of :func:`progress_bar`.
        ended: number of trials that have ended.
        trials: budget, which somebody may have extended.
        best: least validation loss of a complete trial, if there is one.
    """
    bar.total = trials
    if best is not None:
        bar.set_postfix_str(f"best {number(best)}", refresh=False)
    bar.update(ended - bar.n)


def _seconds_between_pictures() -> float:
    """Return how often a bar is drawn: in a log file, where every picture is a line, rarely."""
    return 0.5 if sys.stderr.isatty() or "ipykernel" in sys.modules else 10.0
