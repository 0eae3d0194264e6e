"""``lrsearch doctor``: a table or JSON, and an exit code."""

import pytest

from tests.cli.commands import lrsearch, succeed


def test_a_line_for_each_check(created_url):
    """It leaves with 0 where nothing is wrong."""
    lines = succeed("doctor", "--device", "cpu", "--storage", created_url).out.splitlines()
    assert lines[0].split() == ["check", "result", "what", "was", "found"]
    assert [line.split()[1] for line in lines if line.startswith(("database", "tables", "clock"))] == [
        "ok"
    ] * 3


@pytest.mark.parametrize("format", ["table", "json"])
def test_what_is_wrong_is_an_exit_code(format, sqlite_url):  # noqa: A002 # the option's name
    """1, and the line says what to do."""
    outcome = lrsearch("doctor", "--device", "cuda:63", "--storage", sqlite_url, "--format", format)
    assert (outcome.code, outcome.err) == (1, "")
    assert "lrsearch doctor --device auto" in outcome.out
    if format == "json":
        wrong = [each for each in outcome.json if each["level"] == "wrong"]
        assert [each["check"] for each in wrong] == ["device cuda:63"]


def test_no_password_is_shown():
    """Of a server that does not answer."""
    url = "postgresql://me:swordfish@127.0.0.1:1/studies"
    outcome = lrsearch("doctor", "--device", "cpu", "--storage", url)
    assert outcome.code == 1
    assert "postgresql://me:***@127.0.0.1:1/studies" in outcome.out
    assert "swordfish" not in outcome.out + outcome.err
