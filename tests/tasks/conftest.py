"""Fixtures of the tests of tasks."""

from collections.abc import Iterator

import pytest

from lrsearch.tasks.files import DATASETS
from tests.tasks.mirrors import TINY, TINY_BY_GZIP, Mirrors, running_mirrors


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    """Serve the tiny data sets, which ``fetch`` then knows by the names ``tiny`` and ``tiny-by-gzip``."""
    monkeypatch.setitem(DATASETS, "tiny", TINY)
    monkeypatch.setitem(DATASETS, "tiny-by-gzip", TINY_BY_GZIP)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_mirrors() as server:
        yield server
