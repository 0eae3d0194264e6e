"""The page of a report: what stands on it, in which order, and that nothing of it is fetched."""

import json
import re
import tomllib
from dataclasses import replace
from html import unescape

import pytest

from lrsearch.code import is_reference
from lrsearch.retrainings import Candidate
from lrsearch.review.report.comparison_page import comparison_page
from lrsearch.review.report.html import script_json
from lrsearch.review.report.page import figures_page, report_page
from lrsearch.review.report.trial_table import MOST_ROWS, trial_table
from lrsearch.review.report.trials import ShownStudy
from lrsearch.review.report.verdict_section import code_of, duration, verdict_section
from lrsearch.review.verdict import verdict
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from
from tests.review.report.studies import COMMANDS, audited, confirmed, study

USUAL = study()
CONFIRMED = audited(confirmed(USUAL))


def words(page):
    """Return the text of a page, as it is read."""
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def test_the_sections_stand_in_their_order():
    """What to use comes first, how to do it again last; the links above lead to each."""
    page = report_page(CONFIRMED, COMMANDS)
    sections = re.findall(r'<section id="([\w-]+)"', page)
    assert sections == re.findall(r'<a href="#([\w-]+)"', page)
    assert (sections[0], sections[-1]) == ("verdict", "reproduce")
    assert page.index('id="loss-over-lr"') < page.index('id="curves"') < page.index('id="trajectories"')


def test_nothing_is_fetched():
    """No script, style, image or font comes from elsewhere, and no link leads away."""
    page = re.sub(r"<script>.*?</script>", "", report_page(CONFIRMED, COMMANDS), flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["'](?!#)|url\(|@import""", page)


def test_a_confirmation_gives_the_verdict():
    """Its sentence, its notes, and each candidate with loss, interval and test figures."""
    section = words(verdict_section(ShownStudy(CONFIRMED), COMMANDS))
    found = verdict(CONFIRMED.confirmation)
    assert f"Winner: {found.winner.candidate.name}" in section
    assert found.sentence in section
    for standing in found.standings:
        assert standing.candidate.name in section
        assert f"{standing.valid_loss.mean:.4f}" in section
        assert f"{standing.valid_loss.low:.4f} to {standing.valid_loss.high:.4f}" in section
        assert f"{standing.test['accuracy'].mean:.4f}" in section
    assert "The baseline had eight tries." in section
    assert "28 of 40" in section
    assert "Not confirmed" not in section
    assert "confirm it" not in section


def test_a_rival_that_is_better_is_shown_with_its_lines_of_pytorch():
    """Behind those of the winner; one that is not better has no lines."""
    confirmation = CONFIRMED.confirmation
    point = {"lr": 2.5, "kind": "constant", "warmup_fraction": 0.0}
    rival = Candidate("schedule-free SGD", point, optimizer="SGDScheduleFree")
    [winner, *_others] = [confirmation.runs[each.name] for each in confirmation.candidates]

    def page(difference):
        runs = tuple(
            replace(run, valid_losses=(*run.valid_losses[:-1], run.value + difference)) for run in winner
        )
        added = replace(
            confirmation,
            candidates=(*confirmation.candidates, rival),
            runs=confirmation.runs | {rival.name: runs},
        )
        return words(report_page(replace(CONFIRMED, confirmation=added), COMMANDS))

    better, worse = page(-0.05), page(0.05)
    assert "SGDScheduleFree, lr 2.5, constant" in worse
    assert "schedulefree.SGDScheduleFree" not in worse
    assert "optimizer = schedulefree.SGDScheduleFree(model.parameters(), lr=2.5)" in better
    assert "Schedule-free SGD, in PyTorch" in better
    assert "lrsearch confirm made-up --top 2 --seeds 6 --rivals" in better


def test_a_baseline_that_is_not_shown_to_be_worse_is_shown_with_its_lines_of_pytorch():
    """Behind those of the winner, as it may be the simpler choice; one that is worse has none."""
    confirmation = CONFIRMED.confirmation
    trial = next(each for each in confirmation.candidates if each.trial is not None)
    baseline = next(each for each in confirmation.candidates if each.is_baseline)

    def page(*changes):
        runs = tuple(
            replace(run, valid_losses=(*run.valid_losses[:-1], run.value + change))
            for run, change in zip(confirmation.runs[trial.name], changes, strict=True)
        )
        two = replace(
            confirmation,
            candidates=(trial, baseline),
            runs={trial.name: confirmation.runs[trial.name], baseline.name: runs},
        )
        return words(report_page(replace(CONFIRMED, confirmation=two), COMMANDS))

    seeds = len(confirmation.seeds)
    alike = page(*(0.01 * (-1) ** place for place in range(seeds)))
    worse = page(*(0.5 + 0.001 * place for place in range(seeds)))
    assert f"{baseline.name[:1].upper()}{baseline.name[1:]}, in PyTorch" in alike
    assert f"{baseline.name[:1].upper()}{baseline.name[1:]}, in PyTorch" not in worse


def test_without_a_confirmation_it_says_so():
    """The best trial of the search, why that looks better than it is, and the command that confirms it."""
    section = words(verdict_section(ShownStudy(USUAL), COMMANDS))
    best = ShownStudy(USUAL).best
    assert f"Best trial: trial {best.number}" in section
    assert "Not confirmed." in section
    assert "the luckiest run of a search looks better than it is" in section
    assert "confirm it" in section


def test_where_every_candidate_was_lost_there_is_no_winner():
    """Nothing is recommended, and no code is shown."""
    runs = {
        name: tuple(replace(run, diverged=True) for run in mine)
        for name, mine in CONFIRMED.confirmation.runs.items()
    }
    lost = replace(CONFIRMED, confirmation=replace(CONFIRMED.confirmation, runs=runs))
    section = verdict_section(ShownStudy(lost), COMMANDS)
    assert "Nothing can be recommended" in section
    assert "6 runs lost" in section
    assert "import torch" not in section


def test_the_cost_is_that_of_the_trials():
    """Epochs trained, and those that pruning saved."""
    section = words(verdict_section(ShownStudy(USUAL), COMMANDS))
    trained = sum(trial.epochs for trial in USUAL.trials)
    stopped = [t for t in USUAL.trials if t.state == "PRUNED" and not t.diverged]
    assert f"epochs trained {trained}" in section
    assert f"epochs saved by pruning {sum(8 - trial.epochs for trial in stopped)}" in section
    assert "8 complete, 12 stopped, 4 diverged, 4 failed" in section


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")]
)
def test_times_are_said_in_words(seconds, text):
    """Two units at most."""
    assert duration(seconds) == text


def test_code_for_parts_builds_both_optimizers():
    """One after the other, each behind its name; without the number of updates there is none."""
    facts = study(task="external", steps=50, parts=["generator", "discriminator"])
    shown = ShownStudy(facts)
    code = code_of(shown, shown.best.points)
    assert code.index("# generator") < code.index("# discriminator")
    assert code.count("torch.optim.SGD(") == 2
    assert code_of(ShownStudy(replace(facts, steps_per_epoch=None)), shown.best.points) == ""


def test_without_an_audit_the_command_for_one_is_given():
    """With one its finding is, and a row for each kind that was stopped."""
    assert "audit it" in words(report_page(USUAL, COMMANDS))
    page = words(report_page(CONFIRMED, COMMANDS))
    assert "Not known: nobody has looked" not in page
    assert (
        "Of 3 stopped trials that were trained to their end, 1 would have been among the best tenth" in page
    )


def test_a_study_without_pruner_has_nothing_to_audit():
    """It says that nothing was stopped."""
    page = words(report_page(study(ends=("complete",), pruner="none"), COMMANDS))
    assert "This study has no pruner." in page
    assert "Not known: nobody has looked" not in page


def test_the_study_file_on_the_page_is_the_studys():
    """It reads back as the same specification."""
    page = report_page(USUAL, COMMANDS)
    [block] = re.findall(
        r'aria-label="Copy the study file">Copy</button><pre><code>(.*?)</code>', page, re.DOTALL
    )
    content = tomllib.loads(unescape(block))
    assert resolved(spec_from(content, "the page")).identity() == USUAL.spec.identity()


def test_versions_and_the_datas_fingerprint_are_shown():
    """As they were stored; where they were not, it is said."""
    page = words(report_page(USUAL, COMMANDS))
    assert all(value in page for value in USUAL.origin.values())
    assert "is not stored for this study" in words(report_page(replace(USUAL, origin={}), COMMANDS))


def test_the_table_says_why_a_trial_failed():
    """A row for each trial, the best first, failed ones last."""
    table = trial_table(ShownStudy(USUAL), "all")
    rows = re.findall(r'<tr data-outcome="(\w+)"', table)
    assert len(rows) == 28
    assert rows == sorted(rows, key=("complete", "stopped", "diverged", "failed").index)
    assert table.count("ValueError: no luck") == 4


def test_a_long_table_is_cut_and_it_is_said(monkeypatch):
    """With the command that prints all."""
    assert MOST_ROWS > 1000
    monkeypatch.setattr("lrsearch.review.report.trial_table.MOST_ROWS", 5)
    table = trial_table(ShownStudy(USUAL), "print all")
    assert len(re.findall("<tr data-outcome", table)) == 5
    assert "The best 5 of 28 trials; all of them: print all" in table


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "&lt;", "\u2028", "é"])
def test_json_within_a_script_cannot_end_it(text):
    """And reads back as it was."""
    written = script_json({"text": text})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"text": text}


def test_a_comparison_warns_of_what_cannot_be_compared():
    """Losses of different tasks, or of runs of different length."""
    assert "different tasks (digits-mlp, mnist-mlp)" in words(
        comparison_page([USUAL, study(task="mnist-mlp")])
    )
    assert "for 8 and 4 epochs" not in words(comparison_page([USUAL, study(seed=1)]))
    assert "train for 4 and 8 epochs" in words(comparison_page([USUAL, study(epochs=4)]))


def test_a_comparison_lists_groups_and_studies():
    """The better group first, with median and quartiles; each study with its best trial."""
    studies = [
        study(seed=seed, sampler=name, name=f"{name}-{seed}") for name in ("random", "tpe") for seed in (0, 1)
    ]
    worse = replace(
        studies[0], trials=tuple(replace(t, value=t.value and 2 * t.value) for t in studies[0].trials)
    )
    page = words(comparison_page([worse, *studies[1:]]))
    assert page.index("tpe 2") < page.index("random 2")
    assert all(f" {each.spec.name} " in page for each in studies)
    assert "none was trained to its end" in words(comparison_page([study(trials=0), study(seed=1)]))


def test_figures_have_a_page_of_their_own():
    """For ``lrsearch plot`` into HTML; the name above it is a text."""
    page = figures_page("<b>x</b>", [])
    assert "<h1>&lt;b&gt;x&lt;/b&gt;</h1>" in page


def test_a_schedule_whose_code_is_not_loaded_is_shown_by_its_epochs():
    """Its formula is not known, but the learning rates that were recorded are."""
    facts = study(space={"kinds": ["not_there.py:mine", "WSD"], "warmup_fraction": 0.0})
    assert any(is_reference(str(trial.params["kind"])) for trial in facts.trials)
    page = report_page(facts, COMMANDS)
    assert "A schedule whose code is not loaded is drawn by the last update of each epoch" in page
