"""The files in deploy/: their commands exist, no password stands in them, their scripts do as they say."""

import os
import re
import shlex
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import typer
import yaml

from lrsearch.cli.app import app

DEPLOY = Path(__file__).parent.parent / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
WORKLOADS = [each for each in KUBERNETES if each["kind"] in {"StatefulSet", "Deployment", "Job"}]
COMMAND = typer.main.get_command(app)

# It says what it was called with and what it knows, and runs until it is told to end.
STAND_IN = """#!/bin/bash
echo "$@" >> called
echo "${PGPASSWORD:-none}" >> password
[ "$1" = worker ] || exit 0
trap 'echo ended >> called; exit 7' TERM
while true; do sleep 0.05; done
"""


def command_lines():
    """Return the words after ``lrsearch`` of every call in the files."""
    calls = [service["command"] for service in COMPOSE["services"].values() if "command" in service]
    for workload in WORKLOADS:
        for container in workload["spec"]["template"]["spec"]["containers"]:
            calls += [container["args"]] if "args" in container else []
    text = (DEPLOY / "README.md").read_text()
    calls += [shlex.split(words) for words in re.findall(r"--rm upgrade (.*)", text)]
    calls += [shlex.split(words) for words in re.findall(r"lrsearch-entrypoint (\w.*)", text)]
    [image] = re.findall(r"^CMD \[(.*)\]$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    calls.append([word.strip('" ') for word in image.split(",")])
    slurm = (DEPLOY / "slurm.sh").read_text() + text
    calls += [["worker", *shlex.split(words)] for words in re.findall(r"slurm\.sh (--[^(\n]*)", slurm)]
    calls += [["worker", "--name", "some name"], ["worker-health", "some name"]]
    return calls


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_command_of_the_files_exists(words):
    """With its options and arguments, as the command line parses them."""
    command, context, arguments = COMMAND, None, list(words)
    while hasattr(command, "commands"):
        context = command.make_context(None, arguments, parent=context, resilient_parsing=True)
        name, command, arguments = command.resolve_command(context, arguments)
    command.make_context(name, arguments, parent=context)


def test_nothing_is_reached_from_outside_but_the_dashboard_from_this_machine():
    """Compose publishes one port, on the loopback; Kubernetes has no service outside of its cluster."""
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:8080:8080"]
    [service] = [each for each in KUBERNETES if each["kind"] == "Service"]
    assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
    [policy] = [each for each in KUBERNETES if each["kind"] == "NetworkPolicy"]
    assert policy["spec"]["podSelector"] == {}


def test_no_password_stands_in_the_files():
    """Compose reads it from a file, Kubernetes from a Secret that is empty until it is filled."""
    [secret] = [each for each in KUBERNETES if each["kind"] == "Secret"]
    assert secret["stringData"] == {"password": ""}
    assert COMPOSE["secrets"] == {"postgres_password": {"file": "./secrets/postgres_password"}}
    for file in DEPLOY.iterdir():
        assert not re.search(r"postgresql://\w+:", file.read_text()), file


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each["metadata"]["name"])
def test_every_pod_has_the_rights_that_a_restricted_namespace_allows(workload):
    """Not root, no more rights than it has, nothing written but to its volumes, a limit of memory."""
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


def test_a_probe_is_patient_for_as_long_as_workers_are_with_a_database_that_is_away():
    """Else an outage that they sit out would end them all."""
    from lrsearch.spec.study_spec import RunSpec

    [probe] = [
        container["livenessProbe"]
        for workload in WORKLOADS
        for container in workload["spec"]["template"]["spec"]["containers"]
        if "livenessProbe" in container
    ]
    assert probe["periodSeconds"] * probe["failureThreshold"] > RunSpec().storage_patience_s


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program called ``lrsearch`` that stands in for ours; return what it wrote, by file."""
    program = tmp_path / "lrsearch"
    program.write_text(STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return lambda name: (tmp_path / name).read_text().splitlines()


def until_called(folder):
    """Wait until the stand-in has been called."""
    deadline = time.monotonic() + 30
    while not (folder / "password").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_container_gives_its_worker_a_name_that_the_probe_asks_for(stand_in, tmp_path):
    """And the password from a file; SIGTERM reaches the worker itself."""
    (tmp_path / "secret").write_text("swordfish\n")
    variables = os.environ | {
        "LRSEARCH_PASSWORD_FILE": str(tmp_path / "secret"),
        "LRSEARCH_NAME_FILE": str(tmp_path / "name"),
    }
    entrypoint = DEPLOY / "entrypoint.sh"
    with subprocess.Popen([entrypoint, "worker", "--forever"], env=variables) as worker:
        until_called(tmp_path)
        subprocess.run([entrypoint, "worker-health"], env=variables, check=True)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 7
    [called, probed, ended] = stand_in("called")
    [name] = stand_in("name")
    assert called == f"worker --forever --name {name}"
    assert probed == f"worker-health {name}"
    assert ended == "ended"
    assert stand_in("password") == ["swordfish", "swordfish"]


def test_other_commands_of_a_container_are_passed_on(stand_in):
    """Without a name, and without a password where there is none."""
    subprocess.run([DEPLOY / "entrypoint.sh", "db", "upgrade"], check=True)
    assert stand_in("called") == ["db upgrade"]
    assert stand_in("password") == ["none"]


def test_a_slurm_job_that_is_told_to_end_lets_its_worker_end_first(stand_in, tmp_path):
    """Its exit code is the worker's; array, task and restart make the name."""
    variables = os.environ | {
        "LRSEARCH_STORAGE": "postgresql://user@host/database",
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_RESTART_COUNT": "1",
    }
    with subprocess.Popen([DEPLOY / "slurm.sh", "--study", "s"], env=variables) as job:
        until_called(tmp_path)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == 7
    assert stand_in("called") == ["worker --name slurm-12-3-1 --study s", "ended"]


@pytest.mark.usefixtures("stand_in")
def test_a_slurm_job_without_a_database_says_what_is_missing(tmp_path):
    """Before a worker starts."""
    variables = {name: value for name, value in os.environ.items() if name != "LRSEARCH_STORAGE"}
    job = subprocess.run(
        [DEPLOY / "slurm.sh"], env={**variables, "SLURM_JOB_ID": "1"}, capture_output=True, text=True
    )
    assert job.returncode != 0
    assert "LRSEARCH_STORAGE: set it to the storage URL" in job.stderr
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_well_formed(script):
    """For the shell that they name."""
    shell = script.read_text().splitlines()[0].removeprefix("#!")
    subprocess.run([shell, "-n", script], check=True)
