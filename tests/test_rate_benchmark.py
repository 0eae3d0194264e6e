"""The rate benchmark counts what it says, here for a moment."""

import pytest

from benchmarks.rate.__main__ import main
from benchmarks.rate.measurement import Rate, table


@pytest.mark.slow
def test_the_rate_benchmark_prints_its_table(capsys, tmp_path):
    """Two workers of each contestant, for a second."""
    page = tmp_path / "rate.md"
    short = ["--rounds", "1", "--warm-up-s", "0.5", "--seconds", "1"]
    main(["--workers", "2", "--sampler", "random", *short, "--markdown", str(page)])
    printed = capsys.readouterr().out
    for name in ("Optuna", "lrsearch, one trial at a time", "lrsearch, 16 lanes"):
        (row,) = [line for line in printed.splitlines() if line.startswith(f"| random | 2 | {name} |")]
        assert float(row.split("|")[4]) > 0
    assert page.read_text().startswith("# Trials per second of many workers\n")


def test_a_ratio_is_one_of_the_same_round():
    """The machine was twice as fast in the second round, and so were both."""
    rates = [
        Rate("Optuna", "tpe", 16, 10.0),
        Rate("lrsearch", "tpe", 16, 50.0),
        Rate("Optuna", "tpe", 16, 20.0),
        Rate("lrsearch", "tpe", 16, 140.0),
    ]
    assert "| tpe | 16 | Optuna | 15.0 |  |" in table(rates)
    assert "| tpe | 16 | lrsearch | 95.0 | 6.0 |" in table(rates)
