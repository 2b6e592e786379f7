"""Fixtures for all tests: `require` skips what a machine lacks, or fails if REQUIRE demands it."""

import os
import signal
from collections.abc import Callable

import pytest

# A shell that runs us in the background has us and all that we start ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def require() -> Callable[[str, bool, str], None]:
    demanded = set(filter(None, os.environ.get("REQUIRE", "").split(",")))

    def check(name: str, there: bool, reason: str) -> None:
        if there:
            return
        if name in demanded:
            pytest.fail(f"{reason}, but REQUIRE={name}")
        pytest.skip(reason)

    return check


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a database chosen, only tests for which that makes a difference run."""
    if "DORMOUSE_TEST_DATABASE" not in os.environ:
        return
    chosen = {"chosen_database_url", "chosen_module_database_url"}
    kept = [item for item in items if chosen & set(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept
