"""Whether a searched schedule beats not searching: the search's best, baselines and schedule-free optimizers.

    python -m benchmarks.rivals --storage sqlite:///rivals.db --markdown docs/rivals-benchmark.md

Every case is a search and ``lrsearch confirm --rivals`` on fresh seeds, half of which report. What is in the
database is not trained again: a run that was interrupted goes on, and the page is written from it.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrsearch.retrainings import Confirmation
from lrsearch.review.confirmation_wording import candidate_words
from lrsearch.review.verdict import Estimate, Standing, Verdict, interval_text, p_text, verdict
from lrsearch.review.wording import number
from lrsearch.service.studies import stored_spec
from lrsearch.spec import StudySpec
from lrsearch.storage.database import open_database
from lrsearch.storage.retrainings import latest_confirmation
from lrsearch.storage.studies import list_studies

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Case:
    """A task, and how long it is searched.

    Args:
        name: of the study.
        task: a task that comes with lrsearch, or a file of ``examples/``.
        options: of ``lrsearch optimize``.
        top: trials that are confirmed.
        seeds: fresh ones; half select, half report.
    """

    name: str
    task: str
    options: str
    top: int = 3
    seeds: int = 20

    @property
    def commands(self) -> tuple[str, str]:
        """The search, and the confirmation."""
        allowed = f" --allow-task {self.task}" if ".py:" in self.task else ""
        return (
            f"lrsearch optimize --task {self.task} --name {self.name} {self.options}",
            f"lrsearch confirm {self.name} --rivals --seeds {self.seeds} --top {self.top}{allowed}",
        )

    def is_of(self, confirmation: Confirmation) -> bool:
        """Return whether a confirmation is the one that the commands make."""
        rivals = any(each.is_rival for each in confirmation.candidates)
        return rivals and len(confirmation.seeds) == self.seeds


CASES = (
    Case("mnist-mlp", "mnist-mlp", "--trials 40 --epochs 5"),
    Case("mnist-cnn", "mnist-cnn", "--trials 16 --epochs 3", top=2, seeds=10),
    Case("regression", "examples/regression.py:task", "--trials 40"),
    Case("convolution", "examples/convolution.py:task", "--trials 40"),
    Case("sequence", "examples/sequence.py:task", "--trials 40 --optimizer Adam"),
    Case("characters", "examples/characters.py:task", "--trials 24 --optimizer AdamW", top=2, seeds=10),
    Case("fine-tuning", "examples/fine_tuning.py:task", "--trials 40 --optimizer Adam"),
)
COLUMNS: dict[str, Callable[[Standing], bool]] = {
    "the search's best": lambda each: each.candidate.trial is not None,
    "linear decay, tuned": lambda each: each.candidate.name.startswith("linear decay"),
    "one cycle": lambda each: each.candidate.name.startswith("one cycle"),
    "schedule-free SGD, tuned": lambda each: each.candidate.optimizer == "SGDScheduleFree",
    "schedule-free AdamW, tuned": lambda each: each.candidate.optimizer == "AdamWScheduleFree",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--storage", required=True, nargs="+", help="URLs of databases: the page is of all, the first trains"
    )
    parser.add_argument("--cases", nargs="+", choices=[each.name for each in CASES], help="only these")
    parser.add_argument("--options", default="", help="of both commands, such as '--workers 1'")
    parser.add_argument("--markdown", type=Path, help="where the page is written; else it is printed")
    parser.add_argument("--page-only", action="store_true", help="train nothing")
    given = parser.parse_args(arguments)
    cases = [each for each in CASES if not given.cases or each.name in given.cases]
    for case in () if given.page_only else cases:
        for command in case.commands:
            print(command, flush=True)
            words = [*shlex.split(command)[1:], *shlex.split(given.options), "--storage", given.storage[0]]
            subprocess.run([sys.executable, "-m", "lrsearch", *words], check=True)
    page = "\n".join(page_lines(given.storage, cases)) + "\n"
    if given.markdown is None:
        print(page)
    else:
        given.markdown.write_text(page)


def page_lines(storages: Sequence[str], cases: Sequence[Case]) -> Iterator[str]:
    """Yield the lines of the page, from what is stored."""
    found = [(case, *_stored(storages, case)) for case in cases]
    yield from (*INTRODUCTION.splitlines(), "")
    yield from _table(
        ["task", "seeds that report", *COLUMNS],
        [
            [
                case.name,
                str(case.seeds // 2),
                *(_cell(_first(said.standings, is_it), said) for is_it in COLUMNS.values()),
            ]
            for case, _spec, _confirmation, said in found
        ],
    )
    yield from EXPLANATION.splitlines()
    for case, spec, confirmation, said in found:
        yield from _section(case, spec, confirmation, said)


INTRODUCTION = """# Does a searched schedule beat not searching?

Written by `python -m benchmarks.rivals --storage sqlite:///rivals.db --markdown docs/rivals-benchmark.md`.
Each row is a search and a confirmation with `--rivals`: the best trials, the baselines and the schedule-free
optimizers of [arXiv 2405.15682](https://arxiv.org/abs/2405.15682) on the same fresh seeds, for the same
epochs. The first half of the seeds selects the best trial, the other half gives the figures: mean validation
losses. **Bold** is the smallest of a row; a star marks those that a paired t test, corrected for all
comparisons of the confirmation, shows to differ from its winner; a dagger marks a trial that no sampler
proposed: one of the well-known recipes with which every study begins.
"""
EXPLANATION = """
Linear decay and the schedule-free optimizers had as many epochs each for tuning their learning rates as the
whole search. One cycle rises to the valley of a range test of a few seconds, and is not tuned. The third
digit of what does not train as one fused model, such as the rivals, differs from machine to machine.
"""


def _stored(storages: Sequence[str], case: Case) -> tuple[StudySpec, Confirmation, Verdict]:
    for storage in storages:
        with open_database(storage) as database:
            for record in list_studies(database):
                confirmation = (
                    latest_confirmation(database, record.uuid) if record.name == case.name else None
                )
                if confirmation is not None and case.is_of(confirmation):
                    return stored_spec(record), confirmation, verdict(confirmation)
    raise SystemExit(f"{case.name} is not confirmed yet: leave --page-only out")


def _first(standings: Sequence[Standing], is_it: Callable[[Standing], bool]) -> Standing | None:
    """Return the standing of a column: of several trials the one that the selecting seeds prefer."""
    return min(filter(is_it, standings), key=lambda each: each.selection, default=None)


def _cell(standing: Standing | None, said: Verdict) -> str:
    if standing is None:
        return "-"
    if standing.valid_loss is None:
        return f"{standing.lost} runs lost"
    shown = [_first(said.standings, is_it) for is_it in COLUMNS.values()]
    smallest = min(each.valid_loss.mean for each in shown if each is not None and each.valid_loss is not None)
    mean = number(standing.valid_loss.mean)
    text = f"**{mean}**" if standing.valid_loss.mean == smallest else mean
    text += "" if standing.candidate.recipe is None else " \u2020"
    return f"{text} \\*" if standing.comparison is not None and standing.comparison.is_shown else text


def _section(case: Case, spec: StudySpec, confirmation: Confirmation, said: Verdict) -> Iterator[str]:
    yield from ("", f"## {case.name}", "", *(f"    {command}" for command in case.commands), "")
    yield from (said.sentence, "")
    tests = list(dict.fromkeys(name for each in said.standings for name in each.test if name != "loss"))
    headings = [
        "candidate",
        "validation loss (95%)",
        *(f"test {name}" for name in tests),
        "above the winner",
        "p",
    ]
    yield from _table(headings, [_row(each, tests) for each in said.by_loss])
    words = (f"{each.candidate.name}: {candidate_words(each.candidate, spec)}" for each in said.by_loss)
    yield from ("", *(f"- {line[:1].upper()}{line[1:]}." for line in (*words, *confirmation.notes)))


def _row(standing: Standing, tests: Sequence[str]) -> list[str]:
    compared = standing.comparison
    return [
        standing.candidate.name,
        _interval(standing.valid_loss) if standing.valid_loss else f"{standing.lost} runs lost",
        *(_interval(standing.test.get(name)) for name in tests),
        _interval(compared.difference) if compared else "",
        p_text(compared.p).removeprefix("p = ").removeprefix("p ") if compared else "",
    ]


def _interval(found: Estimate | None) -> str:
    return "-" if found is None else interval_text(found)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|".join(["", " --- ", *(" ---: " for _heading in headings[1:]), ""])
    yield from (f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
