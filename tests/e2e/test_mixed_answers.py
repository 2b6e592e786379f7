"""T44: whoever hangs up and whenever, nobody gets a byte of another's answer."""

import json
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

CALLERS = 8


def _calls(platform, user, number, count):
    """Own answers whole, half of the calls hung up on; what was answered without our canary."""
    choose = random.Random(number)  # noqa: S311  the same calls each time
    foreign, answered = [], 0
    with httpx.Client(base_url=platform.url, timeout=60) as client:
        for at in range(count):
            canary = f"canary-{number}-{at}-{choose.getrandbits(64):x}"
            body = {"model": "dormouse-chat", "prompt": canary, "max_tokens": 2, "echo": True}
            headers = {"authorization": f"Bearer {user.key}"}
            if choose.random() < 0.5:
                _hang_up(platform.port, json.dumps(body | {"stream": at % 2 == 0}), headers, choose)
                continue
            answer = client.post("/v1/completions", json=body, headers=headers)
            answered += 1
            text = answer.json()["choices"][0]["text"]
            if not text.startswith(canary) or text.count("canary") != 1:
                foreign.append((canary, text))
    return answered, foreign


def _hang_up(port, body, headers, choose):
    """At any moment: before the body is sent, while the answer is awaited, or in its middle."""
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    sent = (head + body).encode()
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(sent[: choose.choice([len(sent), len(sent), len(sent) // 2])])
        connection.settimeout(choose.random() * 0.02 + 0.0001)
        try:
            connection.recv(choose.choice([1, 100, 100_000]))
        except OSError:
            return


def _none_is_mixed_up(platform, count):
    users = [platform.sign_up("chat") for _ in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        done = list(
            pool.map(lambda number: _calls(platform, users[number], number, count), range(CALLERS))
        )
    assert [foreign for _, foreign in done] == [[]] * CALLERS
    assert sum(answered for answered, _ in done) > count * CALLERS // 4


def test_t44_every_answer_is_the_askers_own(platform):
    _none_is_mixed_up(platform, 100)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_t44_every_answer_of_a_hundred_thousand_is_the_askers_own(platform):
    _none_is_mixed_up(platform, 100_000 // CALLERS)
