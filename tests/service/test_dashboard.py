"""The dashboard's server: what it shows, what it refuses, and that the data stay as they are."""

import json
import socket
import threading
from contextlib import contextmanager
from http.client import HTTPConnection

import optuna
import pytest
from optuna.trial import TrialState

from lrsearch.errors import InputError
from lrsearch.service.dashboard import DashboardServer, Guard, is_local
from lrsearch.storage.database import open_database, open_existing

RENAME = ("POST", "/api/studies/1/rename", {"study_name": "renamed"})
CHANGES = [
    RENAME,
    ("POST", "/api/studies", {"study_name": "new", "directions": ["minimize"]}),
    ("DELETE", "/api/studies/1", {}),
    ("POST", "/api/trials/1/tell", {"state": "COMPLETE", "values": [-99.0]}),
    ("PUT", "/api/studies/1/note", {"version": 1, "body": "hello"}),
    ("PUT", "/api/studies/1/1/note", {"version": 1, "body": "hello"}),
    ("POST", "/api/trials/1/user-attrs", {"user_attrs": {"a": 1}}),
    ("POST", "/incompatible-rdb-schema", {}),
]


@pytest.fixture
def url(created_url):
    """URL of a database, of each kind in turn, with a study of one complete and one waiting trial."""
    with open_database(created_url) as database:
        study = optuna.create_study(study_name="s", storage=database.optuna_storage)
        study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
        study.add_trial(optuna.trial.create_trial(value=0.5))
    return created_url


@contextmanager
def serving(url, *, writable=False, host="127.0.0.1"):
    """Serve a database, and give a function that asks: method, path, JSON, headers -> status, answer."""
    stop = threading.Event()
    with (
        open_existing(url, read_only=not writable, retry_s=1) as database,
        DashboardServer(database, host, 0, writable=writable) as server,
    ):
        thread = threading.Thread(target=server.serve_until, args=(stop.is_set,))
        thread.start()
        try:
            yield lambda *request, **headers: asked(server.server_address, *request, **headers)
        finally:
            stop.set()
            thread.join()


def asked(address, method, path, content=None, **headers):
    """Send a request, and return the status and what the answer holds."""
    connection = HTTPConnection(*address[:2], timeout=30)
    body = None if content is None else json.dumps(content)
    names = {name.replace("_", "-").title(): value for name, value in headers.items()}
    connection.request(method, path, body, {"Content-Type": "application/json", **names})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if text.startswith("{") else text


def stored(url):
    """Return all that Optuna has of all studies."""
    with open_database(url) as database:
        storage = database.optuna_storage
        studies = storage.get_all_studies()
        attributes = [(study.study_name, study.user_attrs, study.system_attrs) for study in studies]
        return attributes, [trial for study in studies for trial in storage.get_all_trials(study._study_id)]


def test_studies_are_shown(url):
    """On the page's own addresses; the page itself comes as it is."""
    with serving(url) as ask:
        status, page = ask("GET", "/dashboard/")
        assert status == 200
        assert "<title>Optuna Dashboard</title>" in page
        status, studies = ask("GET", "/api/studies")
        assert status == 200
        assert [study["study_name"] for study in studies["study_summaries"]] == ["s"]
        status, study = ask("GET", "/api/studies/1")
        assert status == 200
        assert [trial["state"] for trial in study["trials"]] == ["Waiting", "Complete"]


def test_a_read_only_dashboard_changes_nothing(url):
    """Whatever is sent is refused with the reason, which names what allows it."""
    before = stored(url)
    with serving(url) as ask:
        for change in CHANGES:
            status, answer = ask(*change)
            assert status == 403, change
            assert "--writable" in answer["reason"]
    assert stored(url) == before


def test_the_database_refuses_what_the_server_would_let_through(url, monkeypatch):
    """Every change fails even without the guard, and the data stay."""
    monkeypatch.setattr(Guard, "_refusal", lambda _guard, _environ: None)
    before = stored(url)
    with serving(url) as ask:
        for change in CHANGES[:-1]:  # the last one upgrades tables, and these are current
            assert ask(*change)[0] == 500, change
    assert stored(url) == before


def test_a_writable_dashboard_renames(url):
    """As the dashboard does it: under another id."""
    with serving(url, writable=True) as ask:
        assert ask(*RENAME)[0] == 201
    [(name, _user, _system)], trials = stored(url)
    assert name == "renamed"
    assert [trial.state for trial in trials] == [TrialState.WAITING, TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("LOCALHOST:9000", 200),
        ("[::1]:8080", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 403),
        ("192.0.2.1:8080", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_a_local_dashboard_answers_under_local_names_alone(created_sqlite_url, host, status):
    """Whatever the port: a tunnel has another one."""
    with serving(created_sqlite_url) as ask:
        assert ask("GET", "/api/studies", host=host)[0] == status


def test_a_dashboard_for_others_answers_under_any_name(created_sqlite_url):
    """It cannot know by what name they reach this machine."""
    with serving(created_sqlite_url, host="0.0.0.0") as ask:
        assert ask("GET", "/api/studies", host="gpu-7.example:8080")[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", 201),
        ("http://localhost", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_a_page_of_another_site_changes_nothing(url, origin, status):
    """Not even where studies can be changed: a browser says whose page it was."""
    with serving(url, writable=True) as ask:
        assert ask(*RENAME, host="localhost:8080", origin=origin)[0] == status
    [(name, _user, _system)], _trials = stored(url)
    assert name == ("renamed" if status == 201 else "s")


def test_a_port_that_is_taken_is_named(created_sqlite_url):
    """With another one that may be free."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        open_existing(created_sqlite_url, read_only=True) as db,
    ):
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken .* --port {port + 1}"):
            DashboardServer(db, "127.0.0.1", port, writable=False)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_a_host_that_is_not_this_machine_is_refused(created_sqlite_url, host):
    """By address and by name."""
    with (
        open_existing(created_sqlite_url, read_only=True) as database,
        pytest.raises(InputError, match=f"but {host} and 0 cannot be used"),
    ):
        DashboardServer(database, host, 0, writable=False)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example", False),
    ],
)
def test_local_hosts_are_those_that_this_machine_alone_reaches(host, local):
    """Every loopback address and its name."""
    assert is_local(host) is local
