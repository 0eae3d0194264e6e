"""Fixtures that every test may use, and how examples are drawn."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fixtures.browser", "tests.fixtures.databases", "tests.fixtures.mnist"]

# A busy machine says nothing about a test: neither an example nor drawing it has a time limit. All else is as
# Hypothesis has it, whose profile for CI draws the same examples each time.
settings.register_profile(
    "unhurried",
    parent=settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")
