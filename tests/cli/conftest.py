"""An own folder, environment and database for every test of the command line."""

import shutil
from pathlib import Path

import pytest

from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from tests.cli.commands import lrsearch, succeed

# A grid of six points of which two diverge; five are trained. Its name must be quoted in a shell.
FINISHED = """# A study for tests.
name = "fin ished"
task = "digits-mlp"
trials = 5
epochs = 2
sampler = "grid"
pruner = "none"

[space]
lr = [0.1, 1e6, 0.01]
warmup_fraction = 0.0
kinds = ["constant", "WSD"]

[space.WSD]
decay_fraction = 0.5
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch, sqlite_template):
    """Work in an empty folder with a database that has tables and no studies; no variable of ours is set."""
    for name in ("LRSEARCH_STORAGE", "LRSEARCH_DATA_DIR", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(sqlite_template, "lrsearch.db")


@pytest.fixture
def study_file(tmp_path):
    """Return a function that writes a study of digits: three random trials of two epochs, unless told.

    They train one after the other, so that what happens when is known.
    """

    def write(name="s.toml", space="warmup_fraction = 0.0", run="lanes = 1\nworkers = 1", **keys):
        content = {"task": "digits-mlp", "trials": 3, "epochs": 2, "sampler": "random", "pruner": "none"}
        content = {**content, "first_trials": False, **keys}
        lines = [f"{key} = {_toml(value)}" for key, value in content.items()]
        path = tmp_path / name
        path.write_text("\n".join([*lines, "[space]", space, "[run]", run]) + "\n")
        return path.name

    return write


@pytest.fixture(scope="session")
def finished_template(tmp_path_factory, sqlite_template) -> Path:
    """A database with the finished study, and its file beside it."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(sqlite_template, folder / "lrsearch.db")
    (folder / "finished.toml").write_text(FINISHED)
    succeed(
        "optimize", folder / "finished.toml", "--storage", f"sqlite:///{folder / 'lrsearch.db'}", "--quiet"
    )
    return folder


@pytest.fixture
def finished(finished_template):
    """Put the finished study into this test's database, and return its name."""
    for path in finished_template.iterdir():
        if path.suffix in {".db", ".toml"}:
            shutil.copy(path, path.name)
    return "fin ished"


@pytest.fixture
def pending():
    """Put a study into the database of which no trial has begun, and return its name."""
    content = {"name": "pen ding", "task": "digits-mlp", "trials": 2, "epochs": 2, "first_trials": False}
    space = {"kinds": ["StepLR", "ReduceLROnPlateau", "constant"], "warmup_fraction": 0.0}
    with open_database() as database:
        open_study(database, resolved(spec_from({**content, "space": space}, "test")))
    return "pen ding"


@pytest.fixture
def trial_count():
    """Return a function that counts a study's trials."""

    def count(name):
        return len(lrsearch("trials", name, "--format", "json").json)

    return count


def _toml(value):
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
