"""Workers on Ray: killed, moved to other machines and stopped, they end exactly the budget."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

import lrsearch as package
from benchmarks.postgresql import PASSWORD
from lrsearch.errors import EngineError, SpecError
from lrsearch.service import ray_cluster
from lrsearch.service.ray_cluster import LOOPBACK, Resources, cluster
from lrsearch.service.ray_engine import RayEngine, RayOptions, plan_crew, url_for_workers
from lrsearch.service.studies import resolved
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import find_study
from lrsearch.storage.tables import EpochValueRow, SlotRow
from lrsearch.storage.workers import list_workers
from tests.cli.commands import strict_json

ROOT = Path(package.__file__).parents[1]
LONGEST_S = 120.0
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs lrsearch[ray]")

STUDY = {
    "name": "s",
    "task": "digits-mlp",
    "trials": 12,
    "epochs": 150,
    "sampler": "random",
    "pruner": "none",
    "first_trials": False,
    "space": {"warmup_fraction": 0.0, "lr": {"low": 0.001, "high": 0.01, "log": True}},
    "run": {"lanes": 1, "workers": 2},
}


@contextmanager
def started(*arguments, **environment):
    """Run a program of Python in a process of its own, and kill it at the end."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), **environment}
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition, process):
    """Wait until a condition holds, while a process runs, and return what it is."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError(f"not within {LONGEST_S} s: {condition.__doc__}")


def holders(database):
    """Return the process ids of the workers that hold slots of the study, if there is one."""
    query = sa.select(SlotRow.worker).where(SlotRow.state == "leased")
    names = database.read(lambda connection: set(connection.scalars(query)))
    return {int(name.split(":")[1]) for name in names}


@pytest.fixture
def two_machines(monkeypatch, created_postgresql_url):
    """A Ray cluster of two machines with one core each, both this one, on the loopback."""
    for name, value in {
        "LRSEARCH_STORAGE": created_postgresql_url,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PYTHONPATH": str(ROOT),
    }.items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        from ray.cluster_utils import Cluster

        machine = {"num_cpus": 1, "node_ip_address": LOOPBACK, "object_store_memory": 80 * 2**20}
        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
        head = {**machine, "include_dashboard": False, "_system_config": quick}
        machines = Cluster(initialize_head=True, head_node_args=head)
        machines.other = machines.add_node(**machine)
        machines.add_machine = lambda: machines.add_node(**machine)
        yield machines
        machines.shutdown()


@needs_ray
@pytest.mark.slow
def test_the_budget_is_exact_though_a_worker_is_killed_and_a_machine_is_lost(
    two_machines, created_postgresql_url
):
    """A killed worker is restarted, a lost machine's worker begins on a new one, and each trial ends once."""
    arguments = (created_postgresql_url, two_machines.address, json.dumps(STUDY))
    with (
        open_database(created_postgresql_url) as database,
        started("-m", "tests.service.ray_run", *arguments) as process,
    ):
        first = until(lambda: len(found := holders(database)) == 2 and found, process)
        os.kill(min(first), signal.SIGKILL)
        second = until(lambda: len(found := holders(database) - {min(first)}) == 2 and found, process)
        two_machines.remove_node(two_machines.other, allow_graceful=False)
        until(lambda: not all(map(psutil.pid_exists, second)), process)
        two_machines.add_machine()
        until(lambda: holders(database) - first - second, process)
        out, err = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, err
        events = list(map(strict_json, out.splitlines()))
        assert events[-1] == events[-1] | {"event": "stopped", "reason": "BUDGET"}
        assert sorted(e["number"] for e in events if e["event"] == "trial") == list(range(12))
        uuid = find_study(database, "s").uuid
        assert Slots(database, uuid).counts().done == 12
        attempts = database.read(lambda connection: connection.scalars(sa.select(SlotRow.attempt)).all())
        assert sum(attempts) > 12
        values = sa.select(EpochValueRow.trial, sa.func.count(sa.distinct(EpochValueRow.epoch)))
        epochs = database.read(
            lambda connection: dict(map(tuple, connection.execute(values.group_by(EpochValueRow.trial))))
        )
        assert epochs == dict.fromkeys(range(12), 150)
        assert len(list_workers(database, uuid)) >= 4


@needs_ray
@pytest.mark.slow
def test_a_cluster_of_our_own_is_this_machines_alone_and_stops_in_good_order(
    created_postgresql_url, tmp_path
):
    """Sockets on the loopback alone, the password nowhere; Ctrl-C releases trials and leaves no process."""
    file = tmp_path / "s.toml"
    file.write_text(
        'task = "digits-mlp"\ntrials = 4\nepochs = 50000\nsampler = "random"\n'
        'pruner = "none"\nfirst_trials = false\n[run]\nlanes = 1\n'
    )
    options = ("--engine", "ray", "--workers", "2", "--log-format", "json")
    with (
        open_database(created_postgresql_url) as database,
        started(
            "-m", "lrsearch", "optimize", str(file), *options, LRSEARCH_STORAGE=created_postgresql_url
        ) as process,
    ):
        workers = until(lambda: len(found := holders(database)) == 2 and found, process)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert workers <= {each.pid for each in family}
        listening = [
            connection.laddr.ip
            for each in family
            for connection in each.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert all(ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in listening), listening
        assert not any(PASSWORD in word for each in family for word in each.cmdline())
        [own] = Path("/tmp").glob(f"lrsearch-ray-*/ray/session_*_{process.pid}")
        assert own.parent.parent.stat().st_mode & 0o777 == 0o700  # others reach no Unix socket either
        files = [path for path in own.rglob("*") if path.is_file()]
        assert len(files) > 5
        assert not [path for path in files if PASSWORD in path.read_text("latin-1")]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 130, err
        assert strict_json(out.splitlines()[-1])["reason"] == "INTERRUPTED"
        assert all(map(strict_json, out.splitlines()))
        assert "Traceback" not in err
        assert "Go on with: lrsearch optimize s --engine ray" in err
        counts = Slots(database, find_study(database, "s").uuid).counts()
        assert (counts.free, counts.leased) == (4, 0)
    psutil.wait_procs(family, timeout=10)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)
    assert not own.parent.parent.exists()


@needs_ray
@pytest.mark.slow
def test_a_worker_that_cannot_train_is_told_with_its_machine_and_no_study_comes_of_it(
    two_machines, created_postgresql_url
):
    """The variable is not that of Ray's processes."""
    other = {"LRSEARCH_STORAGE": "", "ELSEWHERE": created_postgresql_url}
    command = (
        "-m",
        "lrsearch",
        "optimize",
        "digits-tpe",
        "--engine",
        "ray",
        "--address",
        two_machines.address,
    )
    with started(*command, "--storage-variable", "ELSEWHERE", **other) as process:
        _out, err = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 2, err
    assert "Error: no worker of Ray's can train:\non " in err
    assert "the variable ELSEWHERE is not set there" in err
    assert "Traceback" not in err
    with open_database(created_postgresql_url) as database:
        assert database.optuna_storage.get_all_studies() == []


def test_ray_that_is_not_installed_is_told(monkeypatch):
    """With the command that installs it."""
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _name: None)
    with (
        pytest.raises(EngineError, match=r"pip install 'lrsearch\[ray\]'"),
        cluster(None, {}),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("somewhere", "reads HOST:PORT, or auto, but got 'somewhere'"),
        ("ray://127.0.0.1:10001", "--address auto"),
        ("127.0.0.1:1", "no Ray cluster can be used at '127.0.0.1:1': Connection refused"),
    ],
)
def test_an_address_where_no_cluster_answers_is_told(monkeypatch, address, told):
    """Before Ray itself is asked, which would wait for more than a minute."""
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _name: True)
    with pytest.raises(EngineError) as caught, cluster(address, {}):
        pass
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "storage", [None, "sqlite:///studies.db", "postgresql://user:swordfish@host/database"]
)
def test_a_database_that_workers_elsewhere_cannot_use_is_refused(monkeypatch, tmp_path, storage):
    """A file, or a password that would go through Ray; the password is masked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSEARCH_STORAGE", raising=False)
    with pytest.raises(EngineError, match="Set LRSEARCH_STORAGE to ") as caught:
        url_for_workers(storage, RayOptions("auto"))
    assert "swordfish" not in str(caught.value)
    assert url_for_workers(storage, RayOptions()) is None


def test_workers_elsewhere_are_told_the_variable_or_a_url_without_password(monkeypatch):
    """A URL with a password stays where it is."""
    monkeypatch.setenv("OURS", "postgresql://user:swordfish@host/database")
    assert url_for_workers(None, RayOptions("auto", storage_variable="OURS")) is None
    url = "postgresql://user@host/database"
    assert url_for_workers(url, RayOptions("auto")) == url


def test_numbers_out_of_range_are_refused():
    """More than one GPU comes in whole ones only."""
    with pytest.raises(SpecError, match="--gpus-per-worker must be a part of 1, or a whole number"):
        RayOptions(gpus_per_worker=1.5)
    with pytest.raises(SpecError, match="--cpus-per-worker must be above 0, but got 0"):
        RayOptions(cpus_per_worker=0.0)


@pytest.mark.parametrize(
    ("device", "gpus", "told"), [("cuda:1", None, "Ray chooses the GPU"), ("cuda", 0.0, "without a GPU")]
)
def test_a_device_that_is_not_rays_to_give_is_refused(database, device, gpus, told):
    """Before Ray is asked."""
    spec = resolved(spec_from({**STUDY, "run": {"device": device}}, "test"))
    with pytest.raises(SpecError, match=told):
        RayEngine(database, spec, RayOptions(gpus_per_worker=gpus))


def test_a_machine_has_room_for_as_many_workers_as_its_scarcest_resource_allows():
    """Parts of a GPU add up without rounding errors."""
    machine = Resources(cpus=8, gpus=1)
    assert machine.holds(Resources(cpus=1, gpus=0.5)) == 2
    assert machine.holds(Resources(cpus=1, gpus=0.1)) == 8
    assert machine.holds(Resources(cpus=0.1, gpus=0)) == 80
    assert machine.holds(Resources(cpus=1, gpus=2)) == 0


SMALL, LARGE = Resources(cpus=4, gpus=0), Resources(cpus=16, gpus=2)


@pytest.mark.parametrize(
    ("machines", "run", "options", "workers", "need"),
    [
        ([SMALL, SMALL], {}, {}, 8, Resources(1, 0)),
        ([SMALL, LARGE], {}, {}, 2, Resources(1, 1)),
        ([SMALL, LARGE], {}, {"gpus_per_worker": 0.5}, 4, Resources(1, 0.5)),
        ([SMALL, LARGE], {"device": "cpu"}, {"cpus_per_worker": 2.0}, 10, Resources(2, 0)),
        ([SMALL, SMALL], {"workers": 3}, {}, 3, Resources(1, 0)),
        ([LARGE], {}, {"gpus_per_worker": 0.0}, 12, Resources(1, 0)),
    ],
)
def test_there_are_as_many_workers_as_the_cluster_has_room_for(machines, run, options, workers, need):
    """By GPUs where there are any and the study may use them; never more than trials are left."""
    spec = resolved(spec_from({**STUDY, "run": run}, "test"))
    crew = plan_crew(machines, spec, RayOptions(**options), trials=12)
    assert (crew.workers, crew.need) == (workers, need)
    assert f"{workers} workers of Ray on " in crew.notes[0]


def test_without_room_the_number_of_workers_must_be_said():
    """Then they wait for machines; else what a worker needs, and what there is, are told."""
    options = RayOptions(gpus_per_worker=1.0)
    open_number, said = (resolved(spec_from({**STUDY, "run": run}, "test")) for run in ({}, {"workers": 2}))
    with pytest.raises(EngineError, match=r"a worker needs 1 GPU and 1 CPU, .* has that: 4 CPUs"):
        plan_crew([SMALL], open_number, options, trials=12)
    crew = plan_crew([SMALL], said, options, trials=12)
    assert crew.workers == 2
    assert "room for 0 of them now" in crew.notes[1]
