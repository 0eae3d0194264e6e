"""Storage URLs: which can be used, what the others are told, and that no password is ever shown."""

import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.errors import DatabaseSetupError
from lrsearch.storage.address import engine_options, parse_address
from lrsearch.storage.masking import masked, masked_arguments


def test_without_a_url_studies_are_stored_in_the_working_folder() -> None:
    """The default is a SQLite file named after the product, beside the user's own files."""
    address = parse_address()
    assert (address.backend, address.path, address.url) == (
        "sqlite",
        Path("lrsearch.db"),
        "sqlite:///lrsearch.db",
    )


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_reached_through_psycopg(scheme: str) -> None:
    """All common spellings of the scheme mean the one driver that is supported."""
    address = parse_address(f"{scheme}://user:word@host:5432/studies")
    assert address.url == "postgresql+psycopg://user:word@host:5432/studies"
    assert address.backend == "postgresql"


@settings(max_examples=50)
@given(password=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=4))
def test_a_password_reaches_the_driver_and_nobody_else(password: str) -> None:
    """Any percent-encoded password arrives as it was meant, and no rendering shows it, encoded or not."""
    address = parse_address(f"postgresql://user:{quote(password, safe='')}@host/studies")
    assert sa.make_url(address.url).password == password
    # What Optuna does with every URL it is given must not see a brace.
    assert "{" not in address.url
    assert address.masked_url == str(address) == "postgresql://user:***@host/studies"
    assert repr(address) == repr(parse_address("postgresql://user:another@host/studies"))
    assert address.mask(f"wrong: {password}") == "wrong: ***"


def test_a_password_among_the_options_is_masked_too() -> None:
    """PostgreSQL's library also takes the password as an option of the URL."""
    address = parse_address("postgresql://user@host/studies?password=secret&sslmode=require")
    assert "secret" in address.url
    assert "secret" not in address.masked_url
    assert "sslmode=require" in address.masked_url


@pytest.mark.parametrize(
    "url",
    [
        "postgres:secret@host",
        "postgresql//user:secret@host/studies",
        "mysql://user:secret@host/studies",
        "postgresql+psycopg2://user:secret@host/studies",
        "postgresql://user:sec@secret@host/studies",
        "postgresql://user:secret@host:port/studies",
        "sqlite://user:secret@host/studies.db",
    ],
)
def test_a_refused_url_is_quoted_without_its_password(url: str) -> None:
    """Whatever is wrong with a URL, the message does not repeat its password."""
    with pytest.raises(DatabaseSetupError) as refusal:
        parse_address(url)
    assert "sec" not in str(refusal.value)
    assert "***" in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_url_without_a_password_is_quoted_whole() -> None:
    """Masking leaves ports, user names and hosts alone."""
    for url in ("postgresql://user@host:5432/studies", "sqlite:////folder/studies.db", "nonsense"):
        assert masked(url) == url


@pytest.mark.parametrize("url", ["", "studies.db", "://", "sqlite:/studies.db"])
def test_what_is_no_url_is_refused_with_examples(url: str) -> None:
    """A path alone is no URL; the message shows one of each kind."""
    with pytest.raises(DatabaseSetupError, match=r"sqlite:///studies\.db, postgresql://user"):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/studies",
        "mariadb://host/studies",
        "mysql+pymysql://host/s",
        "postgresql+asyncpg://host/studies",
        "redis://host",
    ],
)
def test_other_databases_and_drivers_are_refused(url: str) -> None:
    """The message names the databases that there are."""
    with pytest.raises(DatabaseSetupError, match="SQLite or PostgreSQL"):
        parse_address(url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    """Its studies would end with the process, and no worker could see them."""
    with pytest.raises(DatabaseSetupError, match=r"outlive the process.*sqlite:///lrsearch\.db"):
        parse_address(url)


def test_options_of_a_sqlite_url_are_refused() -> None:
    """An option such as a read-only mode would be met halfway at best."""
    with pytest.raises(DatabaseSetupError, match="no options"):
        parse_address("sqlite:///studies.db?mode=ro")


def test_a_sqlite_file_needs_a_folder_that_exists(tmp_path: Path) -> None:
    """A misspelled folder is reported with the command that would create it, and not created."""
    folder = tmp_path / "missing"
    with pytest.raises(DatabaseSetupError, match=f"mkdir -p {folder}"):
        parse_address(f"sqlite:///{folder}/studies.db")
    assert not folder.exists()


def test_a_folder_is_no_sqlite_file(tmp_path: Path) -> None:
    """Naming a folder is answered with a file in it."""
    with pytest.raises(DatabaseSetupError, match=f"Try {tmp_path}/lrsearch.db"):
        parse_address(f"sqlite:///{tmp_path}")


def test_a_missing_driver_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL's driver is an extra of the package."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseSetupError, match=r"pip install 'lrsearch\[postgres\]'"):
        parse_address("postgresql://host/studies")


def test_options_in_the_url_have_priority() -> None:
    """Timeouts that the URL sets are not overwritten."""
    address = parse_address("postgresql://host/studies?connect_timeout=99")
    assert "connect_timeout" not in engine_options(address)["connect_args"]
    assert "connect_timeout" in engine_options(parse_address("postgresql://host/s"))["connect_args"]


def test_a_command_line_is_shown_without_its_passwords() -> None:
    """A URL may stand alone or after an option's equals sign; all other words stay."""
    words = [
        "lrsearch",
        "db",
        "copy",
        "--storage=postgresql://u:secret@h/s",
        "--to",
        "postgres://u:secret@h/t",
    ]
    shown = ["lrsearch", "db", "copy", "--storage=postgresql://u:***@h/s", "--to", "postgres://u:***@h/t"]
    assert masked_arguments(words) == shown
    rest = ["enqueue", "lr=0.1", "--command=python a:b@c", "--storage", "sqlite:////folder/a.db"]
    assert masked_arguments(rest) == rest
