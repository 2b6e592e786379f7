"""T55: what two servers may read differently is refused; nobody behind sees a second request."""

import httpx
import pytest

from fixtures.raw_http import exchange, statuses
from fixtures.smuggling import HARMLESS, HIDDEN, PAYLOADS

PATHS = ["/api/v1/me", "/v1/embeddings"]


def _seen(gateway):
    return [*gateway.authorizer.seen, *gateway.control_plane.seen, *gateway.predictor.seen]


def _port(gateway):
    return httpx.URL(gateway.url).port


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", PAYLOADS)
def test_t55_what_is_not_valid_is_refused_and_the_connection_closed(gateway, name, path):
    answer, closed = exchange(_port(gateway), PAYLOADS[name](path))
    assert closed
    assert statuses(answer) == [400]
    assert _seen(gateway) == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", HARMLESS)
def test_t55_what_is_valid_is_one_request(gateway, name, path):
    exchange(_port(gateway), HARMLESS[name](path), seconds=0.5)
    assert not [call for call in _seen(gateway) if "smuggled" in call.path]
    assert len(gateway.control_plane.seen) <= 1
    assert len(gateway.predictor.seen) <= 1


def test_t55_two_requests_after_each_other_are_two(gateway):
    """The test would see the hidden one."""
    exchange(_port(gateway), HIDDEN + HIDDEN, seconds=0.5)
    assert [call.path for call in gateway.control_plane.seen] == ["/api/v1/smuggled"] * 2
