"""``lrsearch range-test``, and ``lrsearch optimize --range-test``."""

import tomllib
from pathlib import Path

import pytest

from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from
from tests.cli.commands import refused, succeed

SHORT = ("--task", "digits-mlp", "--steps", "80", "--seeds", "2")


def test_it_shows_curve_zones_suggestions_and_lines_for_a_study_file():
    """The printed tables make a study file that reads, and whose lr holds the suggestions."""
    printed = succeed("range-test", *SHORT).out
    for words in ("too low", "falling", "rising", "steepest", "valley", "minimum / 10", "consensus"):
        assert words in printed
    tables = tomllib.loads(printed[printed.index("[space]") :])
    spec = resolved(spec_from({"name": "x", "task": "digits-mlp", "trials": 4, **tables}, "printed"))
    assert spec.space.lr.low < spec.range_test.low < spec.range_test.high < spec.space.lr.high
    assert all(spec.space.lr.contains(lr) for lr in spec.range_test.lrs)


def test_it_prints_the_growth_of_the_formula():
    """D with linear growth, the doubling period with exponential growth."""
    assert "doubled every 3.44 steps" in succeed("range-test", *SHORT).out
    linear = succeed("range-test", *SHORT, "--growth", "linear", "--min", "0.01", "--max", "2.01").out
    assert "lr = 0.01 + 0.025 i" in linear
    assert "d = 0.025" in linear


def test_a_stored_test_is_shown_again():
    """The newest of its task and optimizer, without training, as it was printed; of another there is none."""
    elsewhere = ("--stored", "--storage", "sqlite:///elsewhere.db")
    assert "there is no database" in refused("range-test", "--task", "digits-mlp", *elsewhere)
    assert not Path("elsewhere.db").exists()
    first = succeed("range-test", *SHORT).out
    second = succeed("range-test", *SHORT, "--optimizer", "Adam").out
    assert "digits-mlp with Adam" in second
    assert succeed("range-test", "--task", "digits-mlp", "--stored").out == first
    assert succeed("range-test", "--task", "digits-mlp", "--optimizer", "Adam", "--stored").out == second
    message = refused("range-test", "--task", "mnist-mlp", "--stored")
    assert "unknown stored range test 'mnist-mlp with SGD'" in message


@pytest.mark.parametrize("ending", ["html", "png", "svg"])
def test_it_draws_a_picture(ending):
    """As a page or an image, at the path that was given."""
    path = Path(f"picture.{ending}")
    assert f"Drawn: {path}" in succeed("range-test", *SHORT, "--plot", path).out
    content = path.read_bytes()
    assert {"html": b"<html", "png": b"PNG", "svg": b"<svg"}[ending] in content
    assert len(content) > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--plot", "picture.pdf"), ".html, .png and .svg"),
        (("--plot", "nowhere/picture.png"), "there is no nowhere"),
        (("--min", "1", "--max", "0.1"), "min = 1.0, max = 0.1"),
        (("--steps", "5"), "at least 20 steps"),
        (("--steps", "0"), "at least 20 steps"),
        (("--seeds", "0"), "--seeds"),
        (("--optimizer", "adam"), "'Adam'"),
        (("--epochs", "1"), "--steps or --epochs"),
    ],
)
def test_a_bad_option_is_refused(arguments, words):
    """With the rule, before anything is trained."""
    assert words in refused("range-test", *SHORT, *arguments)


def test_a_study_gives_its_optimizer_and_groups():
    """Group ratios are kept, and a pattern that matches nothing is named."""
    start = 'task = "digits-mlp"\ntrials = 3\nepochs = 4\n[optimizer]\nname = "Adam"\n[groups]\n'
    Path("grouped.toml").write_text(start + '"1.*" = { lr_scale = 0.1 }\n')
    assert "consensus" in succeed("range-test", "grouped.toml", "--steps", "60", "--seeds", "1").out
    Path("grouped.toml").write_text(start + '"1.wieght" = { lr_scale = 0.1 }\n')
    assert "'1.weight'" in refused("range-test", "grouped.toml", "--steps", "60")


def test_another_optimizer_is_tested_on_a_study_of_this_one():
    """``--optimizer`` takes the place of the whole table."""
    Path("sgd.toml").write_text(
        'task = "digits-mlp"\ntrials = 3\n[optimizer]\nname = "SGD"\nmomentum = 0.9\nnesterov = true\n'
    )
    succeed("optimize", "sgd.toml", "--trials", "1", "--epochs", "1", "--pruner", "none")
    for study in ("sgd.toml", "sgd"):
        assert "consensus" in succeed("range-test", study, "--optimizer", "Adam", *SHORT[2:]).out
    message = refused("range-test", "sgd", "--optimizer", "adam", *SHORT[2:])
    assert message.startswith("option --optimizer: ")


def test_a_search_begins_with_a_range_test():
    """It says what it found, searches there, and keeps the bounds when it goes on, by file or name."""
    Path("ranged.toml").write_text('task = "digits-mlp"\ntrials = 3\nepochs = 2\n')
    first = succeed("optimize", "ranged.toml", "--range-test")
    assert "consensus" in first.err
    assert "lr is searched in" in first.err
    assert "Study ranged: 3 of 3 trials have ended" in first.out
    again = succeed("optimize", "ranged.toml", "--range-test", "--trials", "4")
    assert "the range test is left out" in again.err
    assert "Study ranged: 4 of 4 trials have ended" in again.out
    assert "Study ranged: 5 of 5" in succeed("optimize", "ranged", "--trials", "5").out
