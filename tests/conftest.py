"""Fixtures for all tests: `require` skips what a machine lacks, or fails if REQUIRE demands it."""

import os
from collections.abc import Callable

import pytest


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
