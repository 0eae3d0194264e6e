"""Fixtures that every test may use."""

pytest_plugins = ["tests.fixtures.mnist", "tests.fixtures.databases", "tests.fixtures.browser"]
