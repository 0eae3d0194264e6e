"""Fetching: what lies in the folder afterwards is whole, or the message says what to do."""

import logging
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from http.client import HTTPMessage
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import platformdirs
import pytest
from filelock import FileLock

from lrsearch.errors import DataError, UnknownNameError
from lrsearch.tasks import files
from lrsearch.tasks.files import DATASETS, data_dir, datasets, fetch
from tests.tasks.mirrors import COMPRESSED, CONTENTS, TINY, TINY_BY_GZIP, Mirrors

BAD = ["missing", "short", "corrupt", "other", "overlong", "page", "reset"]


def contents(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder, but for the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def put(folder: Path, pieces: dict[str, bytes]) -> Path:
    """Make a folder that holds the files given."""
    folder.mkdir(parents=True)
    for name, content in pieces.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("dataset", ["tiny", "tiny-by-gzip"])
def test_fetch_leaves_the_extracted_files_and_nothing_else(
    mirrors: Mirrors, tmp_path: Path, dataset: str
) -> None:
    """A good mirror's files arrive extracted in the raw folder, with no temporary file left."""
    folder = fetch(dataset, tmp_path / "new", [mirrors.url("good")])
    assert folder == tmp_path / "new" / DATASETS[dataset].folder / "raw"
    assert contents(folder) == CONTENTS


@pytest.mark.parametrize("dataset", ["tiny", "tiny-by-gzip"])
@pytest.mark.parametrize("behaviour", BAD)
def test_fetch_passes_over_a_bad_mirror(
    mirrors: Mirrors, tmp_path: Path, behaviour: str, dataset: str
) -> None:
    """Whatever the first mirror does wrong, the files come whole from the second."""
    folder = fetch(dataset, tmp_path, [mirrors.url(behaviour), mirrors.url("good")])
    assert contents(folder) == CONTENTS
    assert mirrors.requests[f"{behaviour}/images.gz"] == mirrors.requests["good/images.gz"] == 1


@pytest.mark.parametrize("dataset", ["tiny", "tiny-by-gzip"])
@pytest.mark.parametrize("behaviour", BAD)
def test_fetch_publishes_nothing_from_a_bad_mirror(
    mirrors: Mirrors, tmp_path: Path, behaviour: str, dataset: str
) -> None:
    """If all mirrors are bad, fetching fails and no file appears."""
    with pytest.raises(DataError, match=behaviour):
        fetch(dataset, tmp_path, [mirrors.url(behaviour)])
    assert contents(tmp_path / DATASETS[dataset].folder / "raw") == {}


def test_fetch_passes_over_a_hanging_mirror(mirrors: Mirrors, tmp_path: Path) -> None:
    """A mirror that says nothing is left after ``timeout_s``; where it is the last, the message says so."""
    folder = fetch("tiny", tmp_path, [mirrors.url("hanging"), mirrors.url("good")], timeout_s=0.2)
    assert contents(folder) == CONTENTS
    with pytest.raises(DataError, match="timed out"):
        fetch("tiny-by-gzip", tmp_path, [mirrors.url("hanging")], timeout_s=0.2)


def test_fetch_passes_over_an_address_that_is_none(mirrors: Mirrors, tmp_path: Path) -> None:
    """An unusable address counts as a bad mirror."""
    bad = ["no address", "http://127.0.0.1:1/", "gopher://127.0.0.1/"]
    assert contents(fetch("tiny", tmp_path, [*bad, mirrors.url("good")])) == CONTENTS


def test_fetch_asks_no_mirror_when_all_is_there(mirrors: Mirrors, tmp_path: Path) -> None:
    """A second fetch reads the files and asks nobody."""
    fetch("tiny", tmp_path, [mirrors.url("good")])
    mirrors.requests.clear()
    fetch("tiny", tmp_path, [mirrors.url("good")])
    assert not mirrors.requests


def test_fetch_writes_nothing_where_all_is_there(mirrors: Mirrors, tmp_path: Path) -> None:
    """A complete folder is left as it is, without even a lock file, so it may be read-only."""
    folder = put(tmp_path / "Tiny" / "raw", CONTENTS)
    before = sorted(path.name for path in folder.iterdir())
    fetch("tiny", tmp_path, [mirrors.url("good")])
    assert sorted(path.name for path in folder.iterdir()) == before
    assert not mirrors.requests


@pytest.mark.parametrize("dataset", ["tiny", "tiny-by-gzip"])
def test_fetch_repairs_a_truncated_file(
    mirrors: Mirrors, tmp_path: Path, caplog: pytest.LogCaptureFixture, dataset: str
) -> None:
    """A file cut short by a crash is replaced, alone, and a warning says so."""
    damaged = CONTENTS | {"images": CONTENTS["images"][:100]}
    folder = put(tmp_path / DATASETS[dataset].folder / "raw", damaged)
    with caplog.at_level(logging.WARNING):
        fetch(dataset, tmp_path, [mirrors.url("good")])
    assert contents(folder) == CONTENTS
    assert mirrors.requests == {"good/images.gz": 1}
    assert f"{folder / 'images'} is damaged" in caplog.text


def test_fetch_repairs_a_changed_file_of_the_right_length(mirrors: Mirrors, tmp_path: Path) -> None:
    """Where the extracted file's checksum is known, changed content is replaced too."""
    changed = CONTENTS | {"images": bytes(len(CONTENTS["images"]))}
    folder = put(tmp_path / "Tiny" / "raw", changed)
    fetch("tiny", tmp_path, [mirrors.url("good")])
    assert contents(folder) == CONTENTS


@pytest.mark.parametrize("dataset", ["tiny", "tiny-by-gzip"])
def test_fetch_extracts_compressed_files_that_lie_beside(
    mirrors: Mirrors, tmp_path: Path, dataset: str
) -> None:
    """Who has no network copies the published files to the raw folder, and no mirror is asked."""
    folder = put(tmp_path / "a folder, 100%" / DATASETS[dataset].folder / "raw", COMPRESSED)
    fetch(dataset, tmp_path / "a folder, 100%", [mirrors.url("good")])
    assert contents(folder) == CONTENTS | COMPRESSED
    assert not mirrors.requests


def test_fetch_downloads_where_the_compressed_file_beside_is_bad(mirrors: Mirrors, tmp_path: Path) -> None:
    """A half-copied compressed file is passed over for a mirror, and named where there is none."""
    half = {"images.gz": COMPRESSED["images.gz"][:50]}
    folder = put(tmp_path / "Tiny" / "raw", half)
    with pytest.raises(DataError, match=r"raw/images\.gz: EOFError"):
        fetch("tiny", tmp_path, [])
    fetch("tiny", tmp_path, [mirrors.url("good")])
    assert contents(folder) == CONTENTS | half


def test_fetch_keeps_what_it_has_got_when_a_later_file_fails(mirrors: Mirrors, tmp_path: Path) -> None:
    """After a failure the files that arrived stay, and the next fetch asks for the others only."""
    (tmp_path / "Tiny" / "raw").mkdir(parents=True)
    (tmp_path / "Tiny" / "raw" / "images.gz").write_bytes(COMPRESSED["images.gz"])
    with pytest.raises(DataError, match=r"missing/labels\.gz"):
        fetch("tiny", tmp_path, [mirrors.url("missing")])
    fetch("tiny", tmp_path, [mirrors.url("good")])
    assert mirrors.requests == {"missing/labels.gz": 1, "good/labels.gz": 1}


def fetch_later(delay_s: float, data_dir: Path, urls: list[str]) -> dict[str, bytes]:
    """Fetch after a delay, as one of several processes, and return what then lies there."""
    DATASETS["tiny"] = TINY
    time.sleep(delay_s)
    folder = fetch("tiny", data_dir, urls)
    return {name: (folder / name).read_bytes() for name in CONTENTS}


def test_fetch_by_several_processes_downloads_once(mirrors: Mirrors, tmp_path: Path) -> None:
    """Processes that start while another downloads wait for it: all see whole files, each downloaded once."""
    urls = [mirrors.url("missing"), mirrors.url("slow")]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        started = [pool.submit(fetch_later, 0.1 * number, tmp_path, urls) for number in range(4)]
        assert [future.result(timeout=60) for future in started] == [CONTENTS] * 4
    assert mirrors.requests["slow/images.gz"] == mirrors.requests["slow/labels.gz"] == 1


def test_fetch_says_when_another_process_holds_the_folder(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for another process ends with a message that names the lock."""
    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0.05)
    folder = put(tmp_path / "Tiny" / "raw", {})
    with FileLock(folder / ".lock"), pytest.raises(DataError, match=r"raw/\.lock"):
        fetch("tiny", tmp_path, [mirrors.url("good")])


def test_fetch_overwrites_what_a_killed_process_left(mirrors: Mirrors, tmp_path: Path) -> None:
    """A temporary file of a process that was killed does not stay."""
    folder = put(tmp_path / "Tiny" / "raw", {"images.part": b"half"})
    fetch("tiny", tmp_path, [mirrors.url("good")])
    assert contents(folder) == CONTENTS


def test_fetch_teaches_when_the_folder_cannot_be_written(mirrors: Mirrors, tmp_path: Path) -> None:
    """A folder that cannot be made is named, with the ways out."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError) as caught:
        fetch("tiny", tmp_path / "file" / "data", [mirrors.url("good")])
    message = str(caught.value)
    assert str(tmp_path / "file" / "data" / "Tiny" / "raw") in message
    assert "LRSEARCH_DATA_DIR" in message
    assert "'digits-mlp'" in message
    assert not mirrors.requests


def test_fetch_teaches_when_nothing_can_be_reached(tmp_path: Path) -> None:
    """Without network the message names the files, the folder, the mirrors tried and a way out."""
    with pytest.raises(DataError) as caught:
        fetch("mnist", tmp_path, ["http://127.0.0.1:1/one", "http://127.0.0.1:1/two/"])
    message = str(caught.value)
    for file in DATASETS["mnist"].files:
        assert f"{file.name}.gz" in message
    assert str(tmp_path / "MNIST" / "raw") in message
    assert "http://127.0.0.1:1/one/train-images-idx3-ubyte.gz: URLError" in message
    assert "http://127.0.0.1:1/two/train-images-idx3-ubyte.gz: URLError" in message
    assert "'digits-mlp'" in message


def test_fetch_refuses_an_unknown_data_set(tmp_path: Path) -> None:
    """A wrong name brings the nearest right one."""
    with pytest.raises(UnknownNameError, match=r"unknown data set 'minst'\. Did you mean 'mnist'"):
        fetch("minst", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fetch_follows_redirects_that_pass_the_check(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror may send on to another address, and each such step is checked."""
    steps = []
    check = files._SecureRedirects.redirect_request

    def recorded(*arguments: Any) -> Request | None:
        steps.append(arguments[-1])
        return check(*arguments)

    monkeypatch.setattr(files._SecureRedirects, "redirect_request", recorded)
    assert contents(fetch("tiny", tmp_path, [mirrors.url("moved")])) == CONTENTS
    assert steps == [mirrors.url("good") + "images.gz", mirrors.url("good") + "labels.gz"]


def test_redirects_never_lead_from_https_to_http() -> None:
    """Only the list of mirrors may say http: a redirect there is refused, one to https followed."""
    handler = files._SecureRedirects()
    request = Request("https://example.org/a.gz")

    def redirect(url: str) -> Request | None:
        return handler.redirect_request(request, BytesIO(), 302, "Found", HTTPMessage(), url)

    with pytest.raises(HTTPError, match="https to http"):
        redirect("http://example.org/a.gz")
    followed = redirect("https://example.org/b.gz")
    assert followed is not None
    assert followed.full_url == "https://example.org/b.gz"


def test_datasets_are_those_that_can_be_fetched() -> None:
    """The two data sets with files are listed."""
    assert datasets() == ["mnist", "fashion-mnist"]


def test_tiny_data_sets_take_both_ways_of_checking() -> None:
    """The stand-ins differ as the real ones do: one has extracted checksums, one published ones."""
    for tiny, real in ((TINY, "mnist"), (TINY_BY_GZIP, "fashion-mnist")):
        ways = {(file.md5 is None, file.gzip_md5 is None) for file in tiny.files}
        assert ways == {(file.md5 is None, file.gzip_md5 is None) for file in DATASETS[real].files}


def test_the_option_decides_on_the_data_folder(tmp_path: Path) -> None:
    """An explicit folder beats the environment."""
    assert data_dir(tmp_path, {"LRSEARCH_DATA_DIR": "/elsewhere"}) == tmp_path


def test_the_environment_decides_on_the_data_folder_without_an_option() -> None:
    """Without an option ``LRSEARCH_DATA_DIR`` holds, a ``~`` in it being the home folder."""
    assert data_dir(None, {"LRSEARCH_DATA_DIR": "/data"}) == Path("/data")
    assert data_dir(None, {"LRSEARCH_DATA_DIR": "~/data"}) == Path.home() / "data"


@pytest.mark.parametrize("environ", [{}, {"LRSEARCH_DATA_DIR": ""}])
def test_the_cache_folder_is_the_data_folder_by_default(environ: dict[str, str]) -> None:
    """Without option and environment (an empty value is none), the user's cache folder is used."""
    assert data_dir(None, environ) == platformdirs.user_cache_path("lrsearch", appauthor=False)


def test_the_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable set after the import holds."""
    monkeypatch.setenv("LRSEARCH_DATA_DIR", "/set/later")
    assert data_dir() == Path("/set/later")
