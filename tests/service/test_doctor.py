"""What ``lrsearch doctor`` finds, check by check."""

import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import sqlalchemy as sa

from lrsearch.service.doctor import Level, disks, examination, examine, packages
from lrsearch.service.doctor.databases import check_storage
from lrsearch.service.doctor.devices import check_device, check_shared_memory
from lrsearch.service.doctor.disks import check_data, check_space, check_sqlite_disk
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import open_database
from lrsearch.storage.probe import probe
from lrsearch.storage.tables import SlotRow
from lrsearch.tasks import files

Usage = namedtuple("Usage", "total used free")
Partition = namedtuple("Partition", "mountpoint fstype")


def found(findings):
    """Return levels by check."""
    return {finding.check: finding.level for finding in findings}


def one(findings):
    """Return the only finding."""
    [finding] = findings
    return finding


def require(monkeypatch, *requirements, extras=()):
    """Let the installed lrsearch need these packages."""
    head = {"Requires-Python": ">=3.11"}
    answer = type("Head", (dict,), {"get_all": lambda _self, _name: list(extras)})(head)
    monkeypatch.setattr(packages.metadata, "requires", lambda _name: list(requirements))
    monkeypatch.setattr(packages.metadata, "metadata", lambda _name: answer)


def test_this_machine_can_train(created_url):
    """Nothing is wrong where these tests run, and every finding that is not fine says what to do."""
    findings = list(examine(created_url, device="cpu"))
    assert not [each for each in findings if each.level is Level.WRONG]
    assert {"Python", "lrsearch", "torch", "optuna", "database", "clock", "tables"} <= set(found(findings))
    assert all((each.advice is None) == (each.level is Level.OK) for each in findings)


def test_a_package_of_an_unsupported_version_is_wrong(monkeypatch):
    """Named with the version that is there, the supported ones, and the command that installs one."""
    require(monkeypatch, "optuna<2", "no-such-package>=1", 'pytest>=999; extra == "test"')
    wrong = [each for each in packages.check_packages() if each.level is Level.WRONG]
    version = metadata.version("optuna")
    assert [each.found for each in wrong] == [f"{version}, but lrsearch needs <2", "not installed"]
    assert wrong[0].advice == "pip install --upgrade 'optuna<2'"


def test_an_unsupported_python_is_wrong(monkeypatch):
    """By what the package says that it needs."""
    require(monkeypatch)
    assert one(packages.check_python()).level is Level.OK
    monkeypatch.setattr(packages.platform, "python_version", lambda: "3.10.9")
    assert one(packages.check_python()).level is Level.WRONG


def test_an_extra_may_be_missing_but_not_outdated(monkeypatch):
    """What is not needed is no fault."""
    needs = ('psycopg>=3; extra == "here"', 'psycopg>=999; extra == "old"', 'no-such; extra == "missing"')
    require(monkeypatch, *needs, extras=("here", "old", "missing", "test"))
    assert {each.check: (each.level, each.found.split(" ")[0]) for each in packages.check_extras()} == {
        "extra here": (Level.OK, "installed:"),
        "extra old": (Level.WARNING, "psycopg"),
        "extra missing": (Level.OK, "not"),
    }


@pytest.mark.parametrize("device", ["cuda:63", "mps", "no-such-device"])
def test_a_device_that_is_not_there_is_wrong(device):
    """Named as it was asked for."""
    finding = one(check_device(device))
    assert (finding.level, finding.check) == (Level.WRONG, f"device {device}")


def test_a_driver_without_a_gpu_in_pytorch_is_a_warning(monkeypatch, tmp_path):
    """The usual PyTorch for the wrong CUDA; training on the CPU works all the same."""
    program = tmp_path / "nvidia-smi"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert found(check_device("cpu")) == {"device": Level.WARNING, "device cpu": Level.OK}


def test_little_shared_memory_is_a_warning(monkeypatch, tmp_path):
    """As containers have it; without such a folder there is nothing to say."""
    assert list(check_shared_memory(tmp_path / "none")) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(2**26, 0, 2**26))
    assert one(check_shared_memory(tmp_path)).level is Level.WARNING


def test_a_database_that_answers_is_fine(created_url):
    """With its latency, its clock, and the revision of its tables."""
    assert found(check_storage(created_url)) == dict.fromkeys(("database", "clock", "tables"), Level.OK)


def test_a_probe_measures_latency_and_clock(database):
    """Both servers run on this machine, whose clock they share."""
    answer = probe(database)
    assert 0 < answer.round_trip_s < 1
    assert abs(answer.clock_offset_s) < 1


def test_tables_of_another_revision_are_wrong(created_url):
    """The advice is the command that upgrades them; looking does not change them."""
    engine = sa.create_engine(parse_address(created_url).url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lrsearch_alembic_version SET version_num = '0004'")
    finding = one(check_storage(created_url))
    engine.dispose()
    assert (finding.level, finding.check) == (Level.WRONG, "tables")
    assert "lrsearch db upgrade" in finding.advice
    assert one(check_storage(created_url)) == finding


def test_an_empty_database_is_a_warning(postgresql_url):
    """It works, and nobody has used it."""
    assert found(check_storage(postgresql_url)) == {"tables": Level.WARNING}


def test_a_database_that_cannot_be_reached_is_wrong():
    """And its password is shown nowhere."""
    url = "postgresql://me:swordfish@127.0.0.1:1/studies"
    finding = one(check_storage(url))
    assert (finding.level, finding.check) == (Level.WRONG, "database")
    assert "Connection refused" in finding.found
    assert "swordfish" not in repr(finding)


def test_a_sqlite_file_need_not_exist_yet(sqlite_url):
    """It is not made by looking."""
    assert found(check_storage(sqlite_url)) == {"database": Level.OK}
    assert not parse_address(sqlite_url).path.exists()


def test_a_clock_that_is_wrong_is_only_told(monkeypatch, created_sqlite_url):
    """Leases use the database's."""
    monkeypatch.setattr("lrsearch.storage.clock.unix_seconds", lambda _connection: 1000.0)
    [clock] = [each for each in check_storage(created_sqlite_url) if each.check == "clock"]
    assert clock.level is Level.OK
    assert "s behind this machine's" in clock.found


def test_orphans_are_a_warning(created_sqlite_url):
    """Rows of a study that was deleted elsewhere."""
    orphan = sa.insert(SlotRow).values(study_uuid="deleted", slot=0)
    with open_database(created_sqlite_url) as database:
        database.transaction(lambda connection: connection.execute(orphan))
    assert found(check_storage(created_sqlite_url))["orphans"] is Level.WARNING


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    """Below a gibibyte; the folder need not exist."""
    folder = tmp_path / "to" / "come"
    assert one(check_space("disk", folder)).level is Level.OK
    monkeypatch.setattr(disks.shutil, "disk_usage", lambda _path: Usage(2**40, 0, 2**29))
    finding = one(check_space("disk", folder))
    assert (finding.level, finding.found) == (Level.WARNING, f"{folder}: 0.5 GiB free")


@pytest.mark.parametrize(("kind", "warned"), [("nfs4", True), ("fuse.glusterfs", True), ("ext4", False)])
def test_sqlite_on_a_network_is_a_warning(monkeypatch, tmp_path, kind, warned):
    """Told by the mount point that is nearest to the file."""
    mounts = [Partition("/", "overlay"), Partition(str(tmp_path), kind)]
    monkeypatch.setattr(disks.psutil, "disk_partitions", lambda all: mounts)  # noqa: A006, ARG005 # psutil's name
    levels = found(check_sqlite_disk(f"sqlite:///{tmp_path}/studies.db"))
    assert ("file system" in levels) is warned


def test_a_server_has_no_disk_here(postgresql_url):
    """Nothing is said of it."""
    assert list(check_sqlite_disk(postgresql_url)) == []


def test_data_is_whole_missing_or_damaged(monkeypatch, tmp_path):
    """Missing data is fetched by the first search; damaged data is wrong."""
    content = b"the examples"
    source = files.DataSet("MNIST", (files.DataFile("train", len(content)),), ())
    monkeypatch.setattr(files, "DATASETS", {"mnist": source, "other": source})
    assert found(check_data(tmp_path)) == {"data mnist": Level.WARNING}
    path = tmp_path / "MNIST" / "raw" / "train"
    path.parent.mkdir(parents=True)
    path.write_bytes(content[:-1])
    damaged = next(iter(check_data(tmp_path)))
    assert damaged.level is Level.WRONG
    assert damaged.advice == f"lrsearch data fetch mnist --data-dir {tmp_path}"
    path.write_bytes(content)
    assert found(check_data(tmp_path)) == {"data mnist": Level.OK, "data other": Level.OK}


def test_a_check_that_fails_does_not_end_the_others(monkeypatch, created_sqlite_url):
    """It is a finding itself, without the password in its message."""

    def broken():
        raise KeyError("postgresql://me:swordfish@host/db")

    monkeypatch.setattr(examination, "check_python", broken)
    findings = list(examine(created_sqlite_url, Path("/nowhere"), "cpu"))
    assert found(findings)["Python"] is Level.WRONG
    assert found(findings)["tables"] is Level.OK
    url = "postgresql://me:swordfish@host/db"
    assert "swordfish" not in repr(list(examination.survived("database", broken, url)))
