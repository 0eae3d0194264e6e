"""The versions that CI installs: one of everything, and the oldest that are supported."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import Specifier
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = {Requirement(each).name.lower(): Requirement(each) for each in PROJECT["dependencies"]}


def pinned(name):
    """Return the versions of a constraints file, by package."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return dict(line.lower().split("==") for line in lines if line)


NEWEST, OLDEST = pinned("constraints.txt"), pinned("constraints-oldest.txt")


@pytest.mark.parametrize("name", ["optuna", "sqlalchemy", "typer"])
def test_the_oldest_version_is_the_lower_bound(name):
    """What pyproject.toml promises is what the tests run with."""
    [bound] = [Specifier(str(each)).version for each in REQUIRED[name].specifier if each.operator == ">="]
    assert Version(OLDEST[name]) == Version(bound)


def test_an_older_version_differs_from_the_one_that_is_usual():
    """Each package of the second file is in the first; but for Optuna, whose first release is the newest."""
    assert OLDEST.keys() <= NEWEST.keys()
    assert {name for name in OLDEST if Version(OLDEST[name]) == Version(NEWEST[name])} <= {"optuna"}


@pytest.mark.parametrize("name", REQUIRED)
def test_what_ci_installs_is_within_the_ranges(name):
    """Of everything that users install."""
    assert REQUIRED[name].specifier.contains(NEWEST[name.lower()])
