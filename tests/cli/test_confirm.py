"""``lrsearch confirm`` and ``audit``: what they print, and what they refuse."""

import re

import pytest

from lrsearch.storage.database import open_database
from tests.cli.commands import lrsearch, refused, succeed

SPACE = "lr = { low = 0.01, high = 0.5, log = true }\nkinds = ['constant', 'LinearLR']"


@pytest.fixture
def searched(study_file):
    """Search the digits a little, and return the study's name."""
    succeed("optimize", study_file(space=SPACE, trials=4, epochs=2), "--quiet")
    return "s"


def test_a_confirmation_prints_its_verdict_first(searched):
    """Then the table of candidates, what they are, how it was done, and what to doubt, with commands."""
    outcome = succeed("confirm", searched, "--top", "2", "--seeds", "4", "--workers", "1")
    lines = outcome.out.splitlines()
    assert "On 2 fresh seeds that did not select it, its validation loss is " in lines[0]
    assert lines[2].split()[:3] == ["candidate", "validation", "loss"]
    assert sum(line.startswith("trial ") for line in lines) == 4
    assert "test accuracy (95%)" in lines[2]
    assert any(line.startswith("seeds     1 to 4, none of them the search's") for line in lines)
    assert any("lrsearch extend s --trials +10" in line for line in lines)
    assert "next      the winner in lines of PyTorch: lrsearch best s" in lines
    assert outcome.err == ""


def test_a_confirmation_is_shown_again_without_training(searched):
    """The same words."""
    first = succeed("confirm", searched, "--top", "1", "--seeds", "4", "--workers", "1").out
    assert succeed("confirm", searched, "--top", "1", "--seeds", "4", "--workers", "1").out == first


def test_rivals_stand_in_the_table_with_their_optimizers(searched, tmp_path):
    """And in the report, and the verdict says how they compare."""
    outcome = succeed("confirm", searched, "--top", "1", "--seeds", "4", "--workers", "1", "--rivals")
    lines = outcome.out.splitlines()
    assert "needs no schedule" in lines[0] or "need no schedule" in lines[0]
    assert any(
        re.match(r"schedule-free SGD at a tuned \S+: SGDScheduleFree, lr \S+, constant, warm-up", each)
        for each in lines
    )
    assert sum(line.startswith("schedule-free ") for line in lines) == 4
    page = tmp_path / "report.html"
    succeed("report", searched, "-o", str(page))
    assert "AdamWScheduleFree, lr " in page.read_text()


def test_an_audit_prints_what_the_pruner_has_lost(study_file):
    """A sentence, and a row for each schedule kind."""
    path = study_file(space=SPACE, trials=12, epochs=4, pruner="asha")
    succeed("optimize", path, "--quiet")
    lines = succeed("audit", "s", "--sample", "2", "--workers", "1").out.splitlines()
    assert lines[0].startswith("Of 2 stopped trials that were trained to their end, ")
    assert lines[-1].split()[0] == "all"


@pytest.mark.parametrize("verb", ["confirm", "audit"])
def test_what_cannot_be_trained_again_is_refused(verb, finished, tmp_path):
    """An unknown study, one that a script trains, one whose task is code that nobody allowed."""
    assert "Did you mean 'fin ished'?" in refused(verb, "finished")
    number = "seeds" if verb == "confirm" else "sample"
    assert f"{number} of a" in refused(verb, finished, f"--{number}", "0")
    text = 'name = "mine"\ntask = "external"\ntrials = 1\nepochs = 1\n'
    (tmp_path / "mine.toml").write_text(text)
    with open_database() as database:
        from lrsearch.service.studies import open_study, resolved
        from lrsearch.spec import read_spec

        open_study(database, resolved(read_spec(tmp_path / "mine.toml")))
    assert "code of yours trains it" in refused(verb, "mine")


def test_without_a_database_nothing_is_confirmed(tmp_path):
    """Nor is one made."""
    (tmp_path / "lrsearch.db").unlink()
    assert lrsearch("confirm", "s").code == 2
    assert not (tmp_path / "lrsearch.db").exists()


def test_before_a_confirmation_the_best_trial_is_named_as_what_it_is(searched):
    """With the command that confirms it, on the database that was asked for."""
    words = "Not confirmed: the best of many is also the luckiest. On fresh seeds: lrsearch confirm s"
    assert words in succeed("best", searched).out.splitlines()
    assert words in succeed("show", searched).out.splitlines()
    given = succeed("best", searched, "--storage", "sqlite:///lrsearch.db").out.splitlines()
    assert f"{words} --storage sqlite:///lrsearch.db" in given
    (row,) = succeed("best", searched, "--format", "json").json
    assert row["confirmed"] is None


def test_after_a_confirmation_the_winner_is_named_everywhere(searched):
    """With its figures on fresh seeds, in each format; its lines of PyTorch are its own."""
    verdict = succeed("confirm", searched, "--top", "2", "--seeds", "4", "--workers", "1").out
    winner = verdict.split("\n\n")[1].splitlines()[1].partition("  ")[0]
    first, words, sentence, *rest = succeed("best", searched).out.splitlines()
    assert first.lower().startswith(f"{winner}, confirmed on 2 fresh seeds: validation loss ".lower())
    assert sentence == verdict.splitlines()[0]
    assert first in succeed("show", searched).out
    (row,) = succeed("best", searched, "--format", "json").json
    assert row["name"] == winner
    assert row["confirmed"]["runs"] == 2
    lr = row["params"]["lr"]
    assert words.startswith(f"  lr {lr:.4g}")
    assert any(f"lr={lr!r}" in line for line in rest)
    toml = succeed("best", searched, "--format", "toml").out
    assert f"# The winner of study s: {winner}, validation loss {row['confirmed']['mean']} on 2" in toml
    assert f"lr = {lr!r}" in toml


def test_a_better_trial_that_came_later_is_told(searched):
    """The confirmation did not know it."""
    from lrsearch.storage.slots import Slots
    from lrsearch.storage.studies import find_study

    succeed("confirm", searched, "--top", "1", "--seeds", "4", "--workers", "1")
    assert "Found since" not in succeed("best", searched).out
    succeed("optimize", searched, "--trials", "5", "--quiet")
    with open_database() as database:
        uuid = find_study(database, searched).uuid
        table = "UPDATE lrsearch_slots SET value = 0.001 WHERE trial = 4"
        database.transaction(lambda connection: connection.exec_driver_sql(table))
        assert Slots(database, uuid).results()[-1].result.value == 0.001
    told = "Found since, with a smaller loss in the search: trial 4. Confirm again."
    assert told in succeed("best", searched).out.splitlines()
