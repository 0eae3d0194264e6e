"""An empty database for each test, named as a user names it."""

import warnings

import pytest
import torch

from lrsearch.tasks.vision import import_torchvision

import_torchvision()  # before Lightning and transformers import it without care for its operators


@pytest.fixture(autouse=True)
def storage(tmp_path, monkeypatch):
    """URL of a database that does not exist yet, which is also the default."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'adapters.db'}"
    monkeypatch.setenv("LRSEARCH_STORAGE", url)
    return url


@pytest.fixture(autouse=True)
def words_of_the_libraries():
    """Let Lightning advise more workers for its loaders, and the like, which has nothing to do with us."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(lightning|transformers|accelerate|torch\.utils\.data)\b")
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """Train small models with one thread: several wait for each other, the more so beside other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
