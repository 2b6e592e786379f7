"""A control plane with two providers: `mock`, an independent one, and `tiny`, which may lie."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dormouse_control.settings import Settings
from fixtures.oidc import *  # noqa: F403  fixtures are found by their names here
from fixtures.oidc import MockProvider, TinyProvider, configured


@pytest.fixture
def settings(
    settings: Settings, mock_provider: MockProvider, tiny_provider: TinyProvider
) -> Settings:
    providers = (
        configured("mock", mock_provider.issuer),
        configured("tiny", tiny_provider.issuer),
    )
    return settings.model_copy(update={"oidc_providers": providers})


@pytest.fixture
def clock(clock: Any) -> Any:
    """Providers live in the present."""
    clock.time = datetime.now(UTC)
    return clock
