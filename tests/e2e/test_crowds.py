"""Crowds: R21, 500 calls at a service that sleeps; R22 and T78, one user who floods with many keys
while others want one answer each.
"""

import asyncio
from collections import Counter

import httpx
import pytest

CHAT = "/v1/chat/completions"
CROWD = 500
PEOPLE = 5
QUEUE_LENGTH = 100
FLOOD, QUIET = 120, 5
SIDE_BY_SIDE = 8
LATER = {429: {"queue_full"}, 503: {"overloaded"}}


def body(most):
    messages = [{"role": "user", "content": "What is Dormouse?"}]
    return {"model": "dormouse-chat", "messages": messages, "max_tokens": most}


def client(platform):
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=platform.url, timeout=180, limits=limits)


async def ask(http, key, most):
    return await http.post(CHAT, json=body(most), headers={"authorization": f"Bearer {key}"})


def is_told_to_come_back(answer):
    codes = LATER.get(answer.status_code, set())
    return answer.json()["error"]["code"] in codes and int(answer.headers["retry-after"]) >= 1


@pytest.fixture(scope="module")
def platform(start_platform):
    return start_platform(requests_per_minute=1_000_000, concurrent_calls=1000)


def test_r21_of_500_calls_at_a_service_that_sleeps_none_is_lost(platform):
    users = [platform.sign_up("chat") for _ in range(PEOPLE)]
    longest = []

    async def until_answered(http, key, seen):
        """As every good client does: come back when told."""
        while True:
            answer = await ask(http, key, 1)
            seen.append(answer)
            if answer.status_code == 200:
                return
            assert is_told_to_come_back(answer), answer.text
            await asyncio.sleep(int(answer.headers["retry-after"]))

    async def watch(http):
        while True:
            headers = {"authorization": f"Bearer {users[0].key}"}
            services = (await http.get("/api/v1/status", headers=headers)).json()["services"]
            longest.extend(each["queue"] for each in services if each["id"] == "chat")
            await asyncio.sleep(0.1)

    async def crowd():
        seen = []
        async with client(platform) as http, client(platform) as other:
            watching = asyncio.create_task(watch(other))
            calls = [until_answered(http, users[n % PEOPLE].key, seen) for n in range(CROWD)]
            await asyncio.wait_for(asyncio.gather(*calls), 240)
            watching.cancel()
        return seen

    answers = asyncio.run(crowd())
    whole = [each for each in answers if each.status_code == 200]
    assert len(whole) == CROWD
    assert all(each.json()["choices"][0]["finish_reason"] for each in whole)
    assert max(longest) <= QUEUE_LENGTH
    names = {each.headers["x-request-id"] for each in whole}
    booked = Counter()

    def all_booked():
        booked.clear()
        for user in users:
            after = ""
            while after is not None:
                page = platform.get(f"/api/v1/usage?limit=200{after}", user.key).json()
                booked.update(row["request_id"] for row in page["items"])
                after = f"&after={page['next']}" if page["next"] else None
        return set(booked) == names

    platform.until(all_booked, 60)
    assert set(booked.values()) == {1}


def test_t78_who_floods_with_many_keys_waits_behind_those_who_want_one_answer(platform):
    flooder, *quiet = [platform.sign_up("chat") for _ in range(1 + QUIET)]
    keys = [flooder.key] + [
        platform.post("/api/v1/keys", flooder.access_token, json={"name": str(n)}).json()["key"]
        for n in range(5)
    ]
    assert platform.chat(flooder.key, max_tokens=1).status_code == 200
    ended = []

    def waiting():
        return sum(each["in_flight"] for each in platform.predictors(flooder.key, "chat"))

    async def call(http, who, key, most):
        answer = await ask(http, key, most)
        ended.append((who, answer))

    async def scene():
        async with client(platform) as http:
            flood = [
                asyncio.create_task(call(http, "flood", keys[n % len(keys)], 300))
                for n in range(FLOOD)
            ]
            async with asyncio.timeout(60):
                while await asyncio.to_thread(waiting) < FLOOD // 2:
                    await asyncio.sleep(0.01)
            before = len(ended)
            others = [asyncio.create_task(call(http, "quiet", each.key, 8)) for each in quiet]
            await asyncio.gather(*others)
            after = [who for who, _ in ended[before:]]
            await asyncio.gather(*flood)
            return after

    meanwhile = asyncio.run(scene())
    codes = Counter((who, answer.status_code) for who, answer in ended)
    assert codes["quiet", 200] == QUIET, codes
    assert all(is_told_to_come_back(each) for _, each in ended if each.status_code != 200)
    # What ran already, and what took turns with each of them; not the whole line.
    assert meanwhile.count("flood") <= 4 * SIDE_BY_SIDE, codes
    assert codes["flood", 200] >= 3 * FLOOD // 4
