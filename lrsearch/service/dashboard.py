"""Optuna's dashboard on our database: a server for this machine, and what it refuses to answer."""

import errno
import json
import socket
import sys
import warnings
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from lrsearch.errors import InputError
from lrsearch.storage.database import Database

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
READING = frozenset({"GET", "HEAD"})
POLL_S = 0.2

READ_ONLY = "This dashboard is read-only. To change studies in it, start it with --writable."
WRONG_HOST = "This dashboard answers only under the name of its own machine, such as http://localhost."
OTHER_SITE = "This dashboard changes nothing for a page of another site."


class DashboardServer(ThreadingMixIn, WSGIServer):
    """A server of Optuna's dashboard, a thread for each request; it listens from the beginning.

    Args:
        database: whose studies it shows.
        host: name or address of this machine to listen on.
        port: to listen on; 0 takes any free one.
        writable: whether studies can be changed in it.

    Raises:
        InputError: if it cannot listen there.
    """

    daemon_threads = True
    block_on_close = False  # a plot that is being computed does not delay the end
    allow_reuse_port = False  # some versions of Python let two servers share a port, and so hide one of them

    def __init__(self, database: Database, host: str, port: int, *, writable: bool) -> None:
        from optuna_dashboard import wsgi

        try:
            self.address_family = socket.getaddrinfo(host, port)[0][0]
            super().__init__((host, port), _RequestHandler)
        except OSError as error:
            raise _cannot_listen(host, port, error) from None
        hosts = LOCAL_NAMES | {host.lower()} if is_local(host) else None
        # By the storage and not by its URL, so that nothing of Optuna's knows the password.
        self.set_app(Guard(wsgi(database.optuna_storage), hosts, writable=writable))
        self.timeout = POLL_S  # of handle_request

    @property
    def url(self) -> str:
        """Where it serves, without a slash at the end."""
        host, port = self.server_address[:2]
        name = str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"

    def serve_until(self, stop_requested: Callable[[], bool]) -> None:
        """Answer requests until a stop is requested, which is noticed within a fraction of a second."""
        with warnings.catch_warnings():
            # What a plot lacks concerns who looks at it, not the terminal.
            warnings.filterwarnings("ignore", module="optuna")
            while not stop_requested():
                self.handle_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless it is a browser's that did not wait for the answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Guard:
    """A WSGI application before the dashboard's, which has no login and obeys whoever reaches it.

    A page of another site in a browser here can send requests to this machine: as a form, or under a name of
    its own that it lets point here (DNS rebinding).

    Args:
        application: the dashboard's.
        hosts: names under which it answers, in lower case; None answers under any.
        writable: whether requests that may change something are passed on.
    """

    def __init__(
        self, application: "WSGIApplication", hosts: frozenset[str] | None, *, writable: bool
    ) -> None:
        self._application = application
        self._hosts = hosts
        self._writable = writable

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request, or refuse it."""
        reason = self._refusal(environ)
        if reason is None:
            return self._application(environ, _unframed(start_response))
        body = json.dumps({"reason": reason}).encode()  # as the dashboard itself says what went wrong
        start_response(
            "403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        )
        return [body]

    def _refusal(self, environ: "WSGIEnvironment") -> str | None:
        host = environ.get("HTTP_HOST", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return WRONG_HOST
        if environ["REQUEST_METHOD"] in READING:
            return None
        if not self._writable:
            return READ_ONLY
        origin = environ.get("HTTP_ORIGIN")  # browsers name it in whatever is not a GET
        return None if origin is None or _authority(origin) == host else OTHER_SITE


def _unframed(start_response: "StartResponse") -> "StartResponse":
    """Let no page of another site show the dashboard in a frame, where a visitor's clicks would count."""

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start_response(status, [*headers, ("X-Frame-Options", "DENY")], *rest)

    return start


def is_local(host: str) -> bool:
    """Return whether only this machine itself reaches a server on a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _RequestHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent: an open page asks every few seconds."""


def _name(host: str) -> str | None:
    """Return the name or address in a header ``Host``, or None."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _authority(origin: str) -> str | None:
    """Return host and port of a header ``Origin``, or None."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _cannot_listen(host: str, port: int, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(
            f"port {port} of {host} is taken by another program; choose another one, such as "
            f"--port {port + 1}, or --port 0 for any free one"
        )
    return InputError(
        f"a dashboard listens on a name and a port of this machine that it may use, but {host} and {port} "
        f"cannot be used: {error.strerror}. Leave out --host, and choose a --port above 1023"
    )
