"""What libraries tell their callers does not reach the users of lrsearch; what users cause does."""

import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from sqlalchemy.exc import SADeprecationWarning
from tqdm import TqdmExperimentalWarning

from lrsearch.api import suggestion
from lrsearch.api.trial import trial
from lrsearch.foreign_warnings import foreign_warnings_hidden, is_foreign
from lrsearch.service import external

LIBRARY = str(Path(sysconfig.get_path("purelib")) / "optuna" / "study.py")
OURS = str(Path(sys.modules["lrsearch"].__file__).parent / "service" / "search.py")
CATEGORIES = [
    DeprecationWarning,
    PendingDeprecationWarning,
    FutureWarning,
    ExperimentalWarning,
    SADeprecationWarning,
    TqdmExperimentalWarning,
]

TASK = """
import warnings

import optuna
import torch

import lrsearch


class Model(torch.nn.Linear):
    def __init__(self):
        super().__init__(1, 1)
        warnings.warn("my own change", FutureWarning, stacklevel=1)
        inside = "import warnings; warnings.warn('a change in a library', FutureWarning, stacklevel=1)"
        exec(compile(inside, optuna.__file__, "exec"))
        warnings.warn_explicit("a call of ours", FutureWarning, lrsearch.__file__, 1)


x = torch.rand(64, 1)
task = lrsearch.Task.from_tensors(
    Model, train=(x, x), valid=(x, x), loss=torch.nn.functional.mse_loss, epochs=2
)
if __name__ == "__main__":
    lrsearch.optimize(task, trials=1, progress=False)
"""


def said(category, filename, message="something changes"):
    """Return what is shown of a warning that a line of a file causes."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with foreign_warnings_hidden():
            warnings.warn_explicit(message, category, filename, 1)
    return [str(each.message) for each in shown]


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("filename", [LIBRARY, OURS, "<frozen importlib._bootstrap>", "sys"])
def test_a_change_that_a_library_announces_to_its_callers_is_not_shown(category, filename):
    """Whether it was called by another library or by lrsearch."""
    assert said(category, filename) == []


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_the_users_own_code_causes_is_shown(category, tmp_path):
    """They wrote the call, and can change it."""
    assert said(category, str(tmp_path / "model.py")) == ["something changes"]


@pytest.mark.parametrize("category", [UserWarning, RuntimeWarning])
def test_other_warnings_are_shown_wherever_they_come_from(category):
    """That a number overflowed matters to the user."""
    assert said(category, LIBRARY) == ["something changes"]


def test_a_warning_that_names_a_deprecation_is_one(tmp_path):
    """PyTorch announces some in a warning of no special class."""
    message = "TypedStorage is deprecated. It will be removed in the future."
    assert said(UserWarning, LIBRARY, message) == []
    assert said(UserWarning, str(tmp_path / "model.py"), message) == [message]


def test_afterwards_warnings_are_shown_as_before():
    """In a notebook the rest of the program is its user's."""
    before = warnings.showwarning
    with pytest.raises(ZeroDivisionError), foreign_warnings_hidden():
        raise ZeroDivisionError
    assert warnings.showwarning is before


def test_a_users_package_in_the_current_folder_is_theirs():
    """Only installed files are foreign."""
    assert not is_foreign("model.py")
    assert is_foreign(subprocess.__file__)


def warned(function):
    """Return a function that does the same, and in which a library warns its callers first."""

    def warning(*arguments, **options):
        warnings.warn_explicit("something changes", FutureWarning, LIBRARY, 1)
        return function(*arguments, **options)

    return warning


def test_no_change_is_shown_inside_a_suggestion(monkeypatch):
    """Whoever asks for a schedule calls Optuna through lrsearch."""
    monkeypatch.setattr(suggestion, "suggest", warned(suggestion.suggest))
    fixed = optuna.trial.FixedTrial({"lr": 0.1, "warmup": False})
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        suggestion.suggest_schedule(fixed, epochs=1, steps_per_epoch=1, kinds=["constant"])
    assert shown == []


def test_no_change_is_shown_in_a_trial_but_the_scripts_own(monkeypatch, tmp_path):
    """As the trial begins and as it reports; what stands between is the user's."""
    monkeypatch.setattr(external, "open_storage", warned(external.open_storage))
    monkeypatch.setattr(external.ExternalTrial, "report", warned(external.ExternalTrial.report))
    study = tmp_path / "study.toml"
    study.write_text('task = "external"\ntrials = 1\nepochs = 1\n')
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with trial(study, storage=f"sqlite:///{tmp_path}/studies.db") as running:
            warnings.warn("my own change", FutureWarning, stacklevel=1)
            running.report(1, 0.5)
    assert [str(each.message) for each in shown] == ["my own change"]


@pytest.mark.parametrize(
    "command",
    [
        [
            "-m",
            "lrsearch",
            "optimize",
            "--task",
            "model.py:task",
            "--trials",
            "1",
            "--workers",
            "1",
            "--quiet",
        ],
        pytest.param(["model.py"], marks=pytest.mark.slow),
    ],
)
def test_a_search_shows_the_users_warning_alone(command, tmp_path):
    """From the command line and from Python, with every warning that Python would show."""
    (tmp_path / "model.py").write_text(TASK)
    words = [sys.executable, "-W", "always", *command]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "my own change" in done.stderr
    assert "a change in a library" not in done.stderr
    assert "a call of ours" not in done.stderr
    assert "DeprecationWarning" not in done.stderr
