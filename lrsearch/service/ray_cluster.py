"""Where Ray's workers run: a cluster that exists, or one of our own, which only this machine reaches."""

import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lrsearch.errors import EngineError
from lrsearch.service.cores import usable_cores

CONNECT_S = 3.0
ANSWER_S = 12.0
OBJECT_STORE_BYTES = 100 * 2**20  # workers share a database, and nothing through Ray
LOOPBACK = "127.0.0.1"
AUTO = "auto"

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns that it will be so one day
}
# Off, Ray has this machine alone, as it does on macOS and Windows: its address is then that of the loopback.
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_PROBE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


@dataclass(frozen=True)
class Resources:
    """What Ray has, or a worker needs.

    Args:
        cpus: cores, at least 0; a part of one counts.
        gpus: GPUs, at least 0; a part of one counts.
    """

    cpus: float
    gpus: float

    def __str__(self) -> str:
        counts = {"GPU": self.gpus, "CPU": self.cpus}
        words = [f"{count:g} {noun}{'s' if count != 1 else ''}" for noun, count in counts.items() if count]
        return " and ".join(words) or "nothing"

    def holds(self, part: "Resources") -> int:
        """Return how often a part fits in."""
        pairs = ((self.cpus, part.cpus), (self.gpus, part.gpus))
        return int(min(have / need + 1e-9 for have, need in pairs if need > 0))


def check_installed() -> None:
    """Refuse where Ray is missing.

    Raises:
        EngineError: saying how to install it.
    """
    if find_spec("ray") is None:
        raise EngineError("--engine ray needs Ray, which is not installed: pip install 'lrsearch[ray]'")


@contextmanager
def cluster(address: str | None, variables: Mapping[str, str]) -> Iterator[None]:
    """Use a Ray cluster, and stop it at the end if it is our own.

    Args:
        address: ``auto``, or ``HOST:PORT`` of a cluster's head; None starts one on this machine.
        variables: of the environment, set for the workers of a cluster of our own.

    Raises:
        EngineError: if Ray is missing, or no cluster answers at the address within 15 s.
    """
    check_installed()
    settings = {**_QUIET, **_variables(address), **({} if address else variables)}
    with _own_folder() if address is None else nullcontext() as folder, _environment(settings):
        if address is not None:
            _probe(address)
        import ray  # here, because it reads these variables

        ray.init(log_to_driver=False, logging_level="ERROR", **_options(address, folder))
        # All the same it prints what befalls its tasks, in the middle of our standard output.
        ray._private.worker._worker_logs_enabled = False  # there is no other way
        try:
            if address is None:
                _check_loopback(ray.nodes())
            yield
        finally:
            ray.shutdown()


def machines() -> list[Resources]:
    """Return what each machine of the cluster in use has."""
    import ray

    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Resources(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in found]


def _own_folder() -> TemporaryDirectory[str]:
    # Ray's usual folder, with the sockets of its processes, is open to all users of the machine. And a short
    # path, because the name of a Unix socket has at most 107 bytes.
    return TemporaryDirectory(prefix="lrsearch-ray-", dir="/tmp", ignore_cleanup_errors=True)


def _variables(address: str | None) -> dict[str, str]:
    if address is None:
        # A token of its own: the one that Ray would write into the home folder is readable by others.
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        return {**_ON_LOOPBACK, **token}
    return _ON_LOOPBACK if _is_loopback(_written_out(address)) else {}


def _options(address: str | None, folder: str | None) -> dict[str, Any]:
    if address is not None:
        return {"address": address}
    return {
        "address": "local",  # whatever RAY_ADDRESS says
        "num_cpus": usable_cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_temp_dir": f"{folder}/ray",  # which Ray opens to all, within one that is closed
    }


def _check_loopback(nodes: list[dict[str, Any]]) -> None:
    """Refuse to go on with a cluster of our own that others could reach.

    Raises:
        EngineError: if Ray did not do as it was told.
    """
    elsewhere = [node["NodeManagerAddress"] for node in nodes if not _is_loopback(node["NodeManagerAddress"])]
    if elsewhere:
        raise EngineError(
            f"a cluster of our own stays on {LOOPBACK}, but this version of Ray listens on {elsewhere[0]}. "
            "Start one yourself, behind a firewall, and name it: --address HOST:PORT"
        )


def _probe(address: str) -> None:
    """Ask whether a cluster answers.

    Raises:
        EngineError: if none does.
    """
    if address.startswith("ray://"):
        raise EngineError(
            f"Ray's client has no part in this, but got {address!r}. Run the command on a machine of the "
            "cluster: --address auto"
        )
    if address != AUTO and not re.fullmatch(r"\S+:\d+", address):
        raise EngineError(f"the address of a Ray cluster reads HOST:PORT, or {AUTO}, but got {address!r}")
    reason = (None if address == AUTO else _unreachable(address)) or _unanswered(address)
    if reason is not None:
        raise EngineError(
            f"no Ray cluster can be used at {address!r}: {reason}\n"
            "Start one: ray start --head; or leave --address out for one on this machine alone"
        )


def _unreachable(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _unanswered(address: str) -> str | None:
    """Return why no cluster can be used, from a process of its own: Ray's attempt may end the process."""
    try:
        command = [sys.executable, "-c", _PROBE, address]
        probe = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_S:g} s. If it was started with a token: export RAY_AUTH_MODE=token"
    if probe.returncode == 0:
        return None
    return (probe.stderr.strip().splitlines() or ["Ray gave no reason"])[-1]


def _written_out(address: str) -> str:
    """Return the address that ``auto`` stands for, as far as it is known."""
    if address != AUTO:
        return address
    try:
        return os.environ.get("RAY_ADDRESS") or Path("/tmp/ray/ray_current_cluster").read_text().strip()
    except OSError:
        return address


def _is_loopback(address: str) -> bool:
    host = re.sub(r":\d+$", "", address).strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
