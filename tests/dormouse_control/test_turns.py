"""More requests at once than threads: whoever holds the database's lock must not wait for them."""

import asyncio
from collections import Counter
from collections.abc import Callable

import anyio.to_thread
import httpx

from dormouse_control.app import public_app
from dormouse_control.db import THREADS
from dormouse_control.turns import MOST_WAITING, Kind
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


def test_strangers_wait_for_each_other_only_and_not_for_ever(place: Callable[..., Place]) -> None:
    here = place()
    account = here.administrator()
    app = public_app(here.platform)
    most = MOST_WAITING[Kind.STRANGER] + Kind.STRANGER.value

    async def ask_all() -> tuple[Counter[int], list[int]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            body = {"email": "nobody@example.org", "password": "wrong horse battery"}
            guesses = [
                asyncio.create_task(client.post("/api/v1/sessions", json=body))
                for _ in range(most + 50)
            ]
            await asyncio.sleep(0)
            signed = {"authorization": f"Bearer {account.access_token}"}
            ours = [
                (await client.post("/api/v1/keys", json={"name": "x"}, headers=signed)).status_code,
                (await client.get("/api/v1/me", headers=signed)).status_code,
            ]
            assert not all(guess.done() for guess in guesses)
            answers = [await guess for guess in guesses]
        assert {
            (answer.json()["error"]["code"], answer.headers["retry-after"])
            for answer in answers
            if answer.status_code == 503
        } == {("busy", "1")}
        return Counter(answer.status_code for answer in answers), ours

    statuses, ours = asyncio.run(ask_all())
    assert ours == [201, 200]
    assert statuses[503] == 50
