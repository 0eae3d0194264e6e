"""``lrsearch optimize --engine ray`` refuses what cannot work before anything is stored or reached."""

from pathlib import Path

import pytest

from lrsearch.service import ray_cluster
from tests.cli.commands import refused

RAY = ("optimize", "digits-tpe", "--engine", "ray")


@pytest.fixture
def installed(monkeypatch):
    """Let Ray seem to be installed."""
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _name: True)


def test_ray_that_is_missing_is_told():
    """With the command that installs it; no database comes of it."""
    Path("lrsearch.db").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_cluster, "find_spec", lambda _name: None)
        assert "pip install 'lrsearch[ray]'" in refused(*RAY)
    assert not Path("lrsearch.db").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--address", "auto"),
        ("--gpus-per-worker", "0.5"),
        ("--cpus-per-worker", "2"),
        ("--storage-variable", "HERE"),
    ],
)
def test_options_of_ray_need_ray(option, value):
    """The option is named, and what to add."""
    message = refused("optimize", "digits-tpe", option, value)
    assert message == f"{option} is an option of Ray's workers; add --engine ray\n"


@pytest.mark.usefixtures("installed")
def test_a_file_is_no_database_for_several_machines():
    """What helps is a variable with the URL of PostgreSQL."""
    message = refused(*RAY, "--address", "auto")
    assert "need PostgreSQL, but got sqlite:///lrsearch.db. Set LRSEARCH_STORAGE" in message


@pytest.mark.usefixtures("installed")
def test_a_password_does_not_go_through_ray():
    """It is masked in the refusal too."""
    url = "postgresql://user:swordfish@host/database"
    message = refused(*RAY, "--address", "auto", "--storage", url, "--storage-variable", "THERE")
    assert "postgresql://user:***@host/database" in message
    assert "Set THERE to the URL" in message
    assert "swordfish" not in message


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--storage-variable", "NOWHERE"), "the variable NOWHERE, which is not set"),
        (("--gpus-per-worker", "1.5"), "a part of 1, or a whole number, but got 1.5"),
        (("--cpus-per-worker", "0"), "must be above 0, but got 0"),
        (("--device", "cuda:1"), "write --device cuda"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, told):
    """With the rule and what was given."""
    assert told in refused(*RAY, *options)
