"""The benchmarks behind the docs' tables still run, here on a fraction of their work."""

from dataclasses import replace

import pytest

from benchmarks import digits, examples, fine_tuning, own_tasks

pytestmark = pytest.mark.slow


def test_the_digits_benchmark_searches():
    """One sampler, one seed."""
    found = digits.search("random", 0)
    assert 0 < found.true < 1


def test_the_own_tasks_benchmark_prints_its_table(monkeypatch, capsys):
    """One task, three trials."""
    monkeypatch.setattr(own_tasks, "TASKS", {"regression": "SGD"})
    monkeypatch.setattr(own_tasks, "TRIALS", 3)
    own_tasks.main()
    assert "| [regression](../examples/regression.py) | SGD | 13 |" in capsys.readouterr().out


def test_the_benchmark_of_the_examples_prints_the_page(monkeypatch, capsys):
    """A shorter command in the place of those with their default budgets."""
    first = replace(examples.EXAMPLES[0], command="python examples/regression.py --trials 1 --epochs 1")
    others = [replace(each, command="python --version") for each in examples.EXAMPLES[-2:]]
    monkeypatch.setattr(examples, "EXAMPLES", (first, *others))
    examples.main()
    printed = capsys.readouterr().out
    assert "| [regression.py](../examples/regression.py) | a table" in printed
    assert "measured by `python -m benchmarks.examples`" in printed


def test_the_fine_tuning_benchmark_prints_its_table(monkeypatch, capsys):
    """Two seeds, two trials, one fresh seed."""
    for name, value in (("SEEDS", range(2)), ("TRIALS", 2), ("FRESH_SEEDS", range(1000, 1001))):
        monkeypatch.setattr(fine_tuning, name, value)
    fine_tuning.main()
    printed = capsys.readouterr().out
    assert all(f"| {way} |" in printed for way in fine_tuning.WAYS)
