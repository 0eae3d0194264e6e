"""``lrsearch dashboard``: serves until it is stopped, writes nothing, tells no secret; seen in a browser."""

import os
import signal
import socket
import time
from contextlib import contextmanager
from itertools import count
from urllib.error import HTTPError
from urllib.request import urlopen

import optuna
import pytest
import sqlalchemy as sa
from optuna_dashboard import get_note
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from lrsearch.review.markdown import code, code_block, escaped
from lrsearch.review.notes import write_note
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import open_database
from lrsearch.storage.tables import VERSION_TABLE
from lrsearch.training.fused.array import FusedArray
from tests.cli.commands import lrsearch, refused, serving

WAIT_S = 60
NOTE = "//p[contains(., 'Written by lrsearch')]/.."
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "![i](http://evil.example/x.png)",
    "[link](http://evil.example)",
    "http://evil.example",
    "www.evil.example",
    "a@evil.example",
    "# Title",
    "1. one",
    "| a |\n|--|\n| b |",
    "``` <b>x</b>",
]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_dashboard_serves_until_it_is_stopped(finished, tmp_path, number):
    """It says where, and names the study's page; Ctrl-C is its usual end; no byte of the file changes."""
    before = (tmp_path / "lrsearch.db").read_bytes()
    with serving(finished) as server:
        assert server.line.startswith("sqlite:///lrsearch.db, read-only: http://127.0.0.1:")
        assert server.address.endswith("/dashboard/studies/1")
        with urlopen(server.address) as page:
            assert b"Optuna Dashboard" in page.read()
        outcome = server.stopped(number)
    assert outcome.code == 0
    assert "Traceback" not in outcome.err
    assert "Warning" not in outcome.err
    assert (tmp_path / "lrsearch.db").read_bytes() == before


@pytest.mark.slow
def test_a_dashboard_for_others_warns():
    """What they may do, and what is safer."""
    with serving("--host", "0.0.0.0", "--writable") as server:
        assert "writable: http://0.0.0.0:" in server.line
        outcome = server.stopped()
    assert "no login" in outcome.err
    assert "rename and delete" in outcome.err
    assert "SSH tunnel" in outcome.err


@pytest.mark.slow
def test_a_browser_is_opened_on_demand(tmp_path):
    """On the page that is named."""
    program = tmp_path / "browser"
    program.write_text('#!/bin/sh\necho "$1" > "$0.opened"\n')
    program.chmod(0o755)
    opened, deadline = tmp_path / "browser.opened", time.monotonic() + WAIT_S
    with serving("--open", BROWSER=str(program)) as server:
        while not (opened.exists() and opened.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert opened.read_text().strip() == server.address


@pytest.mark.slow
def test_a_password_is_neither_printed_nor_served(postgresql_server, created_postgresql_url):
    """Not even when the database is lost while it is shown."""
    url = sa.make_url(created_postgresql_url)
    with serving(LRSEARCH_STORAGE=created_postgresql_url) as server:
        assert f"{url.set(drivername='postgresql')}, read-only" in server.line
        studies = server.address.replace("/dashboard/", "/api/studies")
        pages = [fetched(server.address), fetched(studies)]
        with connected(postgresql_server) as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
            ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'"
            connection.exec_driver_sql(ended)
        pages += [fetched(server.address), fetched(studies)]
        outcome = server.stopped()
    assert [status for status, _text in pages] == [200, 200, 500, 500]
    assert outcome.code == 0
    assert url.password not in outcome.out + outcome.err + "".join(text for _status, text in pages)


def fetched(address):
    """Return status and text of a page."""
    try:
        with urlopen(address) as page:
            return page.status, page.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def connected(url):
    """Give a connection to a server, without transactions."""
    engine = sa.create_engine(parse_address(url).url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection


def test_a_dashboard_makes_no_database():
    """The message has the command that makes one."""
    assert "lrsearch optimize digits-tpe" in refused("dashboard", "--storage", "sqlite:///no.db")
    assert "lrsearch optimize digits-tpe" in refused(
        "dashboard", "--writable", "--storage", "sqlite:///no.db"
    )


def test_a_dashboard_upgrades_no_database():
    """The message has the command that does."""
    with open_database() as database, database.optuna_storage.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    for options in ([], ["--writable"]):
        assert "run: lrsearch db upgrade --storage sqlite:///lrsearch.db" in refused("dashboard", *options)


@pytest.mark.usefixtures("finished")
def test_an_unknown_study_is_refused():
    """With the one that is meant."""
    assert "Did you mean 'fin ished'?" in refused("dashboard", "finished")


def test_a_port_in_use_is_refused_in_one_line():
    """It names the option."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        message = refused("dashboard", "--port", other.getsockname()[1])
    assert "--port" in message
    assert len(message.splitlines()) == 1


def test_a_run_that_is_interrupted_leaves_a_note(study_file, monkeypatch):
    """With what has ended until then."""
    run_epoch, epochs = FusedArray.run_epoch, count(1)

    def interrupted(array):
        if next(epochs) == 3:  # of the second trial
            os.kill(os.getpid(), signal.SIGINT)
        return run_epoch(array)

    monkeypatch.setattr(FusedArray, "run_epoch", interrupted)
    assert lrsearch("optimize", study_file(trials=3, epochs=2), "--quiet").code == 130
    with open_database() as database:
        note = get_note(optuna.load_study(study_name="s", storage=database.optuna_storage))
    assert "**Best trial: 0**" in note
    assert "1 of 3 trials have ended: 1 complete." in note


# In a browser


def seen(chrome, path):
    """Return an element once the page shows it."""
    return WebDriverWait(chrome, WAIT_S).until(lambda page: page.find_element(By.XPATH, path))


def errors(chrome):
    """Return what went wrong in the page since this was last asked."""
    log = [entry["message"] for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
    return [message for message in log if "ERR_CONNECTION_REFUSED" not in message]  # the server has ended


@pytest.mark.slow
def test_a_browser_shows_the_study_with_its_note_and_our_figure(finished, chrome):
    """Which the search has left there; nothing on the pages fails."""
    with serving(finished) as server:
        chrome.get(server.address)
        seen(chrome, "//*[contains(., 'fin ished')]")
        seen(chrome, "//*[contains(text(), 'Loss over learning rate')]")
        chrome.get(f"{server.address}/note")
        seen(chrome, NOTE)
        text = chrome.find_element(By.TAG_NAME, "body").text
    assert "Best trial: " in text
    assert "until lrsearch confirm 'fin ished' confirms it" in text
    assert "5 of 5 trials have ended" in text
    assert "optimizer = torch.optim.SGD(model.parameters()" in text
    assert errors(chrome) == []


@pytest.mark.slow
def test_a_browser_finds_no_element_in_what_users_named(finished, chrome):
    """Neither link nor picture nor heading nor list nor table: all stands there as text."""
    paragraphs = [write(name) for name in HOSTILE for write in (escaped, code)]
    paragraphs += [code_block("python", name) for name in HOSTILE]
    with open_database() as database:
        write_note(database, finished, "\n\n".join(paragraphs))
    with serving(finished) as server:
        chrome.get(f"{server.address}/note")
        note = seen(chrome, NOTE)
        text = note.text
        elements = note.find_elements(By.CSS_SELECTOR, "img, a, h1, ol, ul, table, iframe, b, mjx-container")
        assert [element.get_attribute("outerHTML") for element in elements] == []
    for name in HOSTILE:
        shown = name.splitlines()
        assert text.count(shown[0]) >= 3
    assert errors(chrome) == []


@pytest.mark.slow
def test_a_browser_renames_a_study_where_that_is_allowed(finished, chrome):
    """By the list's own dialogue; read-only, the study keeps its name and the page says so."""
    with serving() as server:
        rename(chrome, server.address)
        seen(chrome, "//*[contains(text(), 'Failed to rename study')]")
    assert names() == [finished]
    with serving("--writable") as server:
        rename(chrome, server.address)
        seen(chrome, "//*[contains(., 'another name')]")
    assert names() == ["another name"]
    assert len(errors(chrome)) == 1  # the refusal


def rename(chrome, address):
    """Open the list of studies, and give the only one another name."""
    chrome.get(address)
    seen(chrome, "//button[@aria-label='rename study']").click()
    seen(chrome, "//*[@role='dialog']//input").send_keys("another name")
    time.sleep(1)  # the dialogue takes over what was typed after half a second, and shows nothing of it
    seen(chrome, "//*[@role='dialog']//button[contains(., 'Rename')]").click()


def names():
    """Return the names of the stored studies."""
    with open_database() as database:
        return optuna.get_all_study_names(database.optuna_storage)
