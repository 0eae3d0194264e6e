"""Fixtures for tests of schedules."""

import pytest

from lrsearch.schedules import kinds


@pytest.fixture(autouse=True)
def no_registered_kinds(monkeypatch):
    """Forget after each test what it registered."""
    monkeypatch.setattr(kinds, "_registered", {})
