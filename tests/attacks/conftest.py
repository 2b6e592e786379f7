"""The fixtures of a whole control plane, and a summary of how much was tried."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from attacks.people import People, people
from dormouse_control.settings import Settings
from dormouse_control.wiring import build
from fixtures.accounts import *  # noqa: F403  fixtures are found by their names here
from fixtures.administration import *  # noqa: F403  fixtures are found by their names here
from fixtures.both_sides import both_sides  # noqa: F401  a fixture
from fixtures.control_plane import *  # noqa: F403  fixtures are found by their names here
from fixtures.control_plane import FakeClock, FakeRuntime
from fixtures.control_plane_process import start_control_plane  # noqa: F401  a fixture
from fixtures.databases import unsynced
from fixtures.gate import gate  # noqa: F401  a fixture
from fixtures.oidc import *  # noqa: F403  fixtures are found by their names here

_SAID = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Puts a line under the results of the run."""
    return request.config.stash.setdefault(_SAID, []).append


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """No log: writing it takes a third of the time of many thousand calls."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
def everybody(
    chosen_module_database_url: str,
    services_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    quiet: None,  # noqa: ARG001
) -> Iterator[People]:
    """For all tests of a module: each makes the objects that it needs."""
    clock = FakeClock()
    settings = Settings(
        home=tmp_path_factory.mktemp("everybody") / "home",
        services=services_folder,
        database_url=chosen_module_database_url,
    )
    platform = build(settings, runtime=FakeRuntime(), clock=clock)
    unsynced(platform.database.engine)
    with people(platform, clock) as found:
        yield found
    platform.database.engine.dispose()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(_SAID, []):
        terminalreporter.write_line(line)
