"""``lrsearch.optimize`` with several workers: for a task that has a name, in a script with a guard."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch
from lrsearch.errors import SpecError
from lrsearch.storage.database import open_database
from lrsearch.storage.studies import find_study
from lrsearch.storage.workers import list_workers
from tests.cli.test_workers import NET

CALL = """result = lrsearch.optimize(
    "net.py:task", trials=6, sampler="random", pruner="none", workers=2, name="s", device="cpu"
)
print(len(result.records), "trials")
"""
GUARDED = 'import lrsearch\nif __name__ == "__main__":\n' + "".join(
    f"    {line}\n" for line in CALL.splitlines()
)


def run(script, folder, patience_s=60):
    """Run a script beside a file with a task."""
    (folder / "net.py").write_text(NET.replace("False, 60", f"False, {patience_s}"))
    (folder / "script.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(Path(lrsearch.__file__).parents[1])}
    environment.pop("LRSEARCH_STORAGE", None)
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_an_object_has_no_name_by_which_other_workers_find_it():
    """It is refused, with what helps."""
    with pytest.raises(SpecError, match=r"lrsearch.optimize\('model.py:task', workers=4\)"):
        lrsearch.optimize(lrsearch.Task(), workers=2)


@pytest.mark.slow
def test_a_script_with_a_guard_has_several_workers(tmp_path):
    """Each trains some of the trials."""
    done = run(GUARDED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 trials" in done.stdout
    with open_database(f"sqlite:///{tmp_path}/lrsearch.db") as database:
        assert len(list_workers(database, find_study(database, "s").uuid)) == 2
    assert "worker process has ended" not in done.stderr


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path):
    """And searches with one worker, without a traceback."""
    done = run(f"import lrsearch\n{CALL}", tmp_path, patience_s=20)
    assert done.returncode == 0, done.stderr
    assert "6 trials" in done.stdout
    assert 'call lrsearch.optimize below if __name__ == "__main__":' in done.stderr
    assert "Traceback" not in done.stderr
