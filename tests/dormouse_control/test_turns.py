"""More requests at once than threads: whoever holds the database's lock must not wait for them."""

import asyncio
from collections import Counter
from collections.abc import Callable

import anyio.to_thread
import httpx

from dormouse_control.app import public_app
from dormouse_control.db import THREADS
from fixtures.accounts import Place

AT_ONCE = 4 * THREADS
SECONDS = 8  # less than anybody waits for a lock


def test_writers_at_once_do_not_wait_for_each_other_in_a_circle(
    place: Callable[..., Place],
) -> None:
    app = public_app(place().platform)

    async def ask_all() -> Counter[int]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        transport = httpx.ASGITransport(app)
        body = {"email": "ada@example.org"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            asked = [client.post("/api/v1/resets", json=body) for _ in range(AT_ONCE)]
            answers = await asyncio.wait_for(asyncio.gather(*asked), SECONDS)
        return Counter(answer.status_code for answer in answers)

    assert asyncio.run(ask_all()) == {202: AT_ONCE}
