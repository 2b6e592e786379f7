"""T55 before the real processes: nobody behind the gateway answers a hidden request."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fixtures.raw_http import exchange, statuses
from fixtures.smuggling import HARMLESS, PAYLOADS


@pytest.mark.parametrize("path", ["/api/v1/me", "/v1/chat/completions"])
def test_t55_every_hidden_request_stays_hidden(platform, path):
    def send(payload):
        return exchange(platform.port, payload(path), seconds=2)

    with ThreadPoolExecutor(16) as pool:
        refused = dict(zip(PAYLOADS, pool.map(send, PAYLOADS.values()), strict=True))
        read = dict(zip(HARMLESS, pool.map(send, HARMLESS.values()), strict=True))

    for name, (answer, closed) in refused.items():
        assert (statuses(answer), closed) == ([400], True), name
    for name, (answer, _) in read.items():
        final = [status for status in statuses(answer) if status >= 200]
        assert len(final) <= 1, name
        # A 404 of the control plane would be the hidden request's; the gateway's lacks this.
        assert not (final == [404] and b"x-frame-options" in answer), name
    assert platform.get("/readyz").status_code == 200
