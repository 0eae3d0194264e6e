"""Fixtures that every test may use."""

pytest_plugins = ["tests.fixtures.browser", "tests.fixtures.databases", "tests.fixtures.mnist"]
