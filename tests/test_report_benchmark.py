"""The benchmark of the report still runs, here on a fraction of its work."""

import pytest

from benchmarks import report

pytestmark = pytest.mark.slow


def test_the_report_benchmark_prints_its_table(capsys):
    """A study of twelve trials of three epochs; a report is plotly.js and a little more."""
    report.main(["--trials", "12", "--epochs", "3"])
    *_, row = capsys.readouterr().out.strip().splitlines()
    trials, epochs, seconds, megabytes = (float(cell) for cell in row.strip("| ").split("|"))
    assert (trials, epochs) == (12, 3)
    assert seconds > 0
    assert 4 < megabytes < 6
