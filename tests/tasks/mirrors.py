"""A tiny data set, and a local server whose mirrors publish it well or badly."""

import gzip
import hashlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lrsearch.tasks.files import DataFile, DataSet

CONTENTS = {"images": bytes(range(256)) * 40, "labels": b"0123456789" * 10}
COMPRESSED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
SLOWNESS_S = 0.2


def md5(content: bytes) -> str:
    """Return the checksum as the library writes it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


TINY = DataSet(
    "Tiny", tuple(DataFile(name, len(content), md5=md5(content)) for name, content in CONTENTS.items()), ()
)
TINY_BY_GZIP = DataSet(
    "TinyByGzip",
    tuple(
        DataFile(name, len(content), gzip_md5=md5(COMPRESSED[f"{name}.gz"]))
        for name, content in CONTENTS.items()
    ),
    (),
)


class Mirrors(ThreadingHTTPServer):
    """Mirrors by behaviour: ``url("good")`` publishes the tiny data sets, ``url("missing")`` answers 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: Counter[str] = Counter()
        self.closing = threading.Event()

    def url(self, behaviour: str) -> str:
        """Return the address of the mirror that behaves so."""
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"


class _Handler(BaseHTTPRequestHandler):
    server: Mirrors

    def do_GET(self) -> None:
        """Answer as the first part of the path says."""
        behaviour, name = self.path.strip("/").split("/")
        self.server.requests[f"{behaviour}/{name}"] += 1
        getattr(self, f"_{behaviour}")(COMPRESSED[name])

    def _good(self, body: bytes, announced: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)

    def _missing(self, body: bytes) -> None:  # noqa: ARG002 all behaviours are called alike
        self.send_error(404)

    def _slow(self, body: bytes) -> None:
        self.server.closing.wait(SLOWNESS_S)
        self._good(body)

    def _moved(self, body: bytes) -> None:  # noqa: ARG002 all behaviours are called alike
        self.send_response(302)
        self.send_header("Location", self.path.replace("/moved/", "/good/"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _short(self, body: bytes) -> None:
        self._good(body[: len(body) // 2], announced=len(body))

    def _corrupt(self, body: bytes) -> None:
        middle = len(body) // 2
        self._good(body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :])

    def _other(self, body: bytes) -> None:
        content = gzip.decompress(body)
        self._good(gzip.compress(bytes([content[0] ^ 1]) + content[1:]))

    def _overlong(self, body: bytes) -> None:
        self._good(gzip.compress(gzip.decompress(body) + bytes(10**6)))

    def _page(self, body: bytes) -> None:  # noqa: ARG002 all behaviours are called alike
        self._good(b"<html>please log in</html>")

    def _reset(self, body: bytes) -> None:
        self._good(body[:10], announced=len(body))
        # with a linger time of zero, closing sends a reset instead of the rest
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _hanging(self, body: bytes) -> None:  # noqa: ARG002 all behaviours are called alike
        self.server.closing.wait(30)

    def log_message(self, *args: Any) -> None:
        """Say nothing on standard error."""

    def finish(self) -> None:
        """Close quietly after a reset."""
        if self.connection.fileno() != -1:
            super().finish()


@contextmanager
def running_mirrors() -> Iterator[Mirrors]:
    """Serve until the block ends."""
    with Mirrors() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
