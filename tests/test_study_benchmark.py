"""The benchmark of a study's cost apart from training still runs, here on a fraction of its work."""

import json

import pytest

from benchmarks import study

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("storage", study.STORAGES)
def test_the_study_benchmark_prints_its_table(monkeypatch, capsys, tmp_path, storage):
    """A study of twelve trials in four lanes, and as many by Optuna itself."""
    monkeypatch.setattr(study, "LANES", 4)
    monkeypatch.setattr(study, "WINDOW", 8)
    study.main(["--trials", "12", "--storage", storage, "--json", str(tmp_path / "costs.json")])
    table = capsys.readouterr().out
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert [cost["loop"] for cost in costs] == ["lrsearch", "Optuna", "Optuna, 4 at once"]
    assert all(f"| {storage} | 12 | {cost['loop']} |" in table for cost in costs)
    assert all(cost["total"] > 0 for cost in costs)
