"""The files of the data sets: where they lie, and how they get there whole."""

import gzip
import hashlib
import io
import logging
import os
import urllib.request
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.error import HTTPError

import platformdirs
from filelock import FileLock

from lrsearch.errors import DataError, UnknownNameError

_log = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 1800
# What comes instead of the right content; URLError, HTTPError, time-outs and BadGzipFile are OSErrors.
_UNUSABLE = (OSError, EOFError, HTTPException, ValueError, zlib.error)


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, published gzipped and used extracted.

    Args:
        name: name of the extracted file; the published one adds ``.gz``.
        size_bytes: length of the extracted file.
        md5: checksum of the extracted file, or None if ``gzip_md5`` is the known one.
        gzip_md5: checksum of the published file, or None if ``md5`` is the known one.
    """

    name: str
    size_bytes: int
    md5: str | None = None
    gzip_md5: str | None = None

    def is_right(self, path: Path) -> bool:
        """Whether the extracted file is there: of the right length, and content where ``md5`` is known."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        return self.md5 is None or _md5(path.read_bytes()) == self.md5

    def extract(self, compressed: bytes) -> bytes:
        """Return the extracted content.

        Args:
            compressed: the published file's bytes.

        Raises:
            ValueError: a length or a checksum is wrong.
            OSError, EOFError, zlib.error: the bytes are no whole gzip file.
        """
        _check("MD5 of the compressed file", _md5(compressed), self.gzip_md5)
        with gzip.open(io.BytesIO(compressed)) as stream:
            content = stream.read(
                self.size_bytes + 1
            )  # one byte more shows what is too long, a gzip bomb too
        _check("MD5 of the extracted file", _md5(content), self.md5)
        if len(content) != self.size_bytes:
            raise ValueError(f"the extracted file must have {self.size_bytes} bytes")
        return content


@dataclass(frozen=True)
class DataSet:
    """What is fetched for a data set, and from where.

    Args:
        folder: name of its folder, which is its class in ``torchvision.datasets``.
        files: what lies in that folder's ``raw``.
        mirrors: addresses that publish all files, tried in order.
    """

    folder: str
    files: tuple[DataFile, ...]
    mirrors: tuple[str, ...]


# The names, mirrors and gzip checksums are those of torchvision/datasets/mnist.py. Fashion-MNIST is published
# over http alone; what arrives must have the checksum all the same.
DATASETS = {
    "mnist": DataSet(
        "MNIST",
        (
            DataFile("train-images-idx3-ubyte", 47_040_016, md5="6bbc9ace898e44ae57da46a324031adb"),
            DataFile("train-labels-idx1-ubyte", 60_008, md5="a25bea736e30d166cdddb491f175f624"),
            DataFile("t10k-images-idx3-ubyte", 7_840_016, md5="2646ac647ad5339dbf082846283269ea"),
            DataFile("t10k-labels-idx1-ubyte", 10_008, md5="27ae3e4e09519cfbb04c329615203637"),
        ),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    ),
    "fashion-mnist": DataSet(
        "FashionMNIST",
        (
            DataFile("train-images-idx3-ubyte", 47_040_016, gzip_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            DataFile("train-labels-idx1-ubyte", 60_008, gzip_md5="25c81989df183df01b3e8a0aad5dffbe"),
            DataFile("t10k-images-idx3-ubyte", 7_840_016, gzip_md5="bef4ecab320f06d8554ea6380940ec79"),
            DataFile("t10k-labels-idx1-ubyte", 10_008, gzip_md5="bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
}


def datasets() -> list[str]:
    """Return the names of the data sets that can be fetched."""
    return list(DATASETS)


def data_dir(option: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the data sets.

    It is the option, else ``LRSEARCH_DATA_DIR``, else the user's cache folder for lrsearch.

    Args:
        option: what the user asked for, or None.
        environ: environment variables; None means this process's, as they are now.
    """
    if option is not None:
        return option.expanduser()
    named = (os.environ if environ is None else environ).get("LRSEARCH_DATA_DIR")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("lrsearch", appauthor=False)


def unfit_files(dataset: str, data_dir: Path) -> dict[Path, bool]:
    """Return the files of a data set that are missing or damaged, and whether they exist.

    Args:
        dataset: one of ``datasets()``.
        data_dir: folder of the data sets.
    """
    source = DATASETS[dataset]
    folder = data_dir / source.folder / "raw"
    return {folder / file.name: (folder / file.name).exists() for file in _wrong(source, folder)}


def fetch(
    dataset: str, data_dir: Path, mirrors: Sequence[str] | None = None, timeout_s: float = 30.0
) -> Path:
    """Make sure that a data set's files lie in their folder, whole, and return that folder.

    Files that are right are left alone, so a folder that is complete may be read-only. Any other is taken
    from the ``.gz`` beside it, else from the first mirror that has it. Many processes may call this at once.

    Args:
        dataset: one of ``datasets()``.
        data_dir: folder of the data sets, laid out as torchvision does: ``<data_dir>/MNIST/raw/...``.
        mirrors: addresses to try in order; None means the data set's own.
        timeout_s: longest silence of a mirror before the next one is tried, above 0.

    Raises:
        UnknownNameError: no data set has that name.
        DataError: the folder cannot be written, or no mirror has the right file.
    """
    if dataset not in DATASETS:
        raise UnknownNameError("data set", dataset, DATASETS)
    source = DATASETS[dataset]
    folder = data_dir / source.folder / "raw"
    try:
        if _wrong(source, folder):
            _complete(source, folder, source.mirrors if mirrors is None else mirrors, timeout_s)
    except (OSError, DataError) as error:
        names = ", ".join(f"{file.name}.gz" for file in source.files)
        raise DataError(
            f"the data set {dataset!r} is not complete in {folder}, and could not be completed: {error}\n"
            f"Copy {names} there, or set LRSEARCH_DATA_DIR to a folder that is writable or complete, "
            "or use the task 'digits-mlp', which needs no download."
        ) from error
    return folder


def _complete(source: DataSet, folder: Path, mirrors: Sequence[str], timeout_s: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
        # Anew: another process may have completed the folder while this one waited.
        for file in _wrong(source, folder):
            path = folder / file.name
            if path.exists():
                _log.warning("%s is damaged and will be replaced", path)
            _publish(_retrieve(file, folder, mirrors, timeout_s), path)


def _wrong(source: DataSet, folder: Path) -> list[DataFile]:
    return [file for file in source.files if not file.is_right(folder / file.name)]


def _retrieve(file: DataFile, folder: Path, mirrors: Iterable[str], timeout_s: float) -> bytes:
    beside = folder / f"{file.name}.gz"
    local = [beside.absolute().as_uri()] if beside.is_file() else []
    failures = []
    for url in [*local, *(f"{mirror.rstrip('/')}/{beside.name}" for mirror in mirrors)]:
        try:
            return file.extract(_read(url, timeout_s, limit_bytes=file.size_bytes + 2**16))
        except _UNUSABLE as error:
            failures.append(f"{url}: {type(error).__name__}: {error}")
    raise DataError("; ".join(failures) or "there is no mirror to ask.")


def _read(url: str, timeout_s: float, limit_bytes: int) -> bytes:
    _log.info("reading %s", url)
    # Built anew, because it reads the proxy settings of the environment.
    opener = urllib.request.build_opener(_SecureRedirects)
    with opener.open(url, timeout=timeout_s) as response:
        content: bytes = response.read(limit_bytes)
    return content


def _publish(content: bytes, path: Path) -> None:
    # The lock is held, so the name is nobody else's; a process killed here leaves it to the next one.
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _check(what: str, got: str, expected: str | None) -> None:
    if expected is not None and got != expected:
        raise ValueError(f"the {what} is {got}, expected {expected}")


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but none from https to http: only the list of mirrors may say http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https:"):
            raise HTTPError(newurl, code, "refused a redirect from https to http", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
