"""T52, T54: what the gateway decides about a path is what everybody behind it decides."""

import random
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import httpx
import pytest

from dormouse_control.gateway.paths import INFERENCE
from fixtures.raw_http import ask, statuses

WORDS = [
    "v1", "chat", "completions", "embeddings", "models", "api", "me", "m", "small", "internal",
    "routes", "healthz", "metrics", "principals", "events", "..", ".", "", "V1", "Chat",
]  # fmt: skip
# What stands where a slash or a letter might.
JOINTS = [
    "/", "/", "/", "/", "/", "//", "/./", "/../", "%2f", "%2F", "%5c", "\\", "/;x/", ";a=b/",
    "/%2e/", "/%2e%2e/", "/..;/", "/.%2e/", "%00", "%0a", "/%20/", "%09", "+", "#",
    "?", "?/", "%23", "%3f", "/%c0%af", "%c0%ae%c0%ae/", "%e0%80%af", "%25%32%66", "%252f", "/%ff/",
    "~", "@", ":", "*", "|",
]  # fmt: skip
KNOWN = [
    "/v1/chat/completions", "/chat/completions", "/m/small/v1/embeddings", "/v1/completions",
    "/embeddings", "/api/v1/me", "/internal/v1/routes", "/v1/models", "/models/small", "/healthz",
]  # fmt: skip


def _generated(number: int) -> str:
    choose = random.Random(number)  # noqa: S311  the same paths each time
    if choose.random() < 0.4:
        path = "".join(
            choose.choice(JOINTS) + choose.choice(WORDS) for _ in range(choose.randint(1, 6))
        )
        return path if path[0] in "/\\?#*" else "/" + path
    path = choose.choice(KNOWN)
    for _ in range(choose.randint(1, 3)):
        at = choose.randrange(1, len(path) + 1)
        path = choose.choice(
            [
                lambda path, at: path[:at] + choose.choice(JOINTS) + path[at:],
                lambda path, at: path[: at - 1] + f"%{ord(path[at - 1]):02x}" + path[at:],
                lambda path, at: path[: at - 1] + path[at - 1].swapcase() + path[at:],
                lambda path, _: path.replace("/", choose.choice(JOINTS), 1),
                lambda path, _: path + choose.choice(JOINTS) + choose.choice(WORDS),
            ]
        )(path, at)
    return path if path[:1] == "/" else "/" + path


@pytest.mark.parametrize("part", range(5))
def test_t52_a_path_means_the_same_to_all(gateway, part):
    """A thousand of them each time."""
    cases = {number: _generated(number) for number in range(part * 1000, part * 1000 + 1000)}
    port = httpx.URL(gateway.url).port

    def send(number: int) -> bytes:
        head = (
            f"POST {cases[number]} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer x\r\n"
            f"x-case: {number}\r\nconnection: close\r\ncontent-length: 17\r\n\r\n"
            '{"model":"small"}'
        )
        return ask(port, head.encode("latin-1"))

    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(cases, pool.map(send, cases), strict=True))

    asked = {call.headers["x-request-id"]: call.path for call in gateway.authorizer.seen}
    managed = {int(call.headers["x-case"]): call for call in gateway.control_plane.seen}
    inferred = {int(call.headers["x-case"]): call for call in gateway.predictor.seen}
    assert len(managed) == len(gateway.control_plane.seen)
    assert len(inferred) == len(gateway.predictor.seen) == len(asked)
    for number, path in cases.items():
        [status] = statuses(answers[number])
        reached = (number in managed) + (number in inferred)
        assert (status, reached) in ((200, 1), (400, 0)), path
        if number in inferred:
            call = inferred[number]
            checked = re.fullmatch(INFERENCE, asked[call.headers["x-request-id"]].split("?")[0])
            assert checked, path
            assert call.path.split("?")[0] == f"/v1/{checked.group(1)}", path
        if number in managed:
            seen = managed[number].path.split("?")[0]
            assert "//" not in seen, path
            assert not {".", ".."} & set(unquote(seen, "latin-1").split("/")), path
            assert not re.fullmatch(INFERENCE, seen), path
    # None is about one side only.
    assert len(managed) > 200
    assert len(inferred) > 20


@pytest.mark.parametrize(
    "header",
    ["x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-path", "x-forwarded-host",
     "x-forwarded-prefix", "x-http-method-override", "x-envoy-original-path",
     "x-envoy-decorator-operation"],
)  # fmt: skip
@pytest.mark.parametrize("asked", ["/v1/embeddings", "/api/v1/me"])
def test_t54_no_header_changes_where_a_request_goes(gateway, header, asked):
    for value in ("/healthz", "/v1/chat/completions", "/internal/v1/routes", "GET"):
        gateway.forget()
        httpx.post(
            gateway.url + asked,
            content=b'{"model":"small"}',
            headers={"authorization": "Bearer x", header: value, "user-agent": "kube-probe/1.30"},
        )
        inference = asked == "/v1/embeddings"
        behind = gateway.predictor if inference else gateway.control_plane
        assert [(call.method, call.path) for call in behind.seen] == [("POST", asked)]
        # Whoever looks like a health check is asked for like all others.
        assert [call.path for call in gateway.authorizer.seen] == [asked] * inference
