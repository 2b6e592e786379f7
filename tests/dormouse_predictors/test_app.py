"""The HTTP surface on an engine whose tokens come when the test says so."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from fixtures.predictor_bench import BODY


def run(script: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(script())  # type: ignore[arg-type]


def test_an_answer_and_its_headers(bench: Any, keys: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.go.release(3)
            token = keys.token(alias="gpt-4o-mini", cold_start_ms=120)
            answer = await b.call(BODY | {"model": "gpt-4o-mini"}, token=token).done()
            assert answer.status == 200
            assert answer.headers["x-dormouse-model"] == "tiny"
            assert answer.headers["x-dormouse-cold-start-ms"] == "120"
            assert "connection" not in answer.headers
            document = json.loads(answer.body)
            assert document["model"] == "gpt-4o-mini"
            assert document["id"] == "chatcmpl-req-1"
            assert document["usage"]["completion_tokens"] == b.events[0].completion_tokens == 3
            assert b.busy == [1, 0]

    run(script)


def test_pieces_are_sent_as_they_are_made(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            answer = b.call(BODY | {"stream": True})
            await asyncio.sleep(0.1)
            assert answer.sent == []  # no promise before there is anything
            b.engine.go.release()
            await answer.until(lambda: b'"content":"t"' in answer.body)
            assert b.events == []
            b.engine.go.release(2)
            await answer.done()
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.body.endswith(b"data: [DONE]\n\n")
            assert b.events[0].outcome == "completed"

    run(script)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_the_engine(bench: Any, stream: bool) -> None:
    async def script() -> None:
        async with bench() as b:
            answer = b.call(BODY | {"stream": stream, "max_tokens": 1000})
            b.engine.go.release(7)
            await asyncio.sleep(0.1)
            answer.leave.set()
            await answer.done()
            assert [event.outcome for event in b.events] == ["cancelled"]
            assert b.events[0].completion_tokens == 7
            b.engine.go.release(3)
            assert (await b.call().done()).status == 200

    run(script)


def test_a_client_that_hangs_up_while_waiting_leaves_the_queue(bench: Any) -> None:
    async def script() -> None:
        async with bench(limit=1) as b:
            running = b.call()
            await asyncio.sleep(0.05)
            waiting = b.call()
            await running.until(lambda: b.scheduler.waiting() == 1)
            assert (await b.call().done()).status == 429
            waiting.leave.set()
            await waiting.done()
            assert b.scheduler.waiting() == 0
            b.engine.go.release(3)
            assert (await running.done()).status == 200
            assert len(b.events) == 1

    run(script)


def test_a_full_queue_says_when_to_come_back(bench: Any) -> None:
    async def script() -> None:
        async with bench(limit=1) as b:
            calls = [b.call()]
            await asyncio.sleep(0.05)
            calls.append(b.call())
            refused = await b.call().done()
            assert (refused.status, refused.error["code"]) == (429, "queue_full")
            assert refused.headers["retry-after"] == "1"
            assert refused.error["type"] == "rate_limit_error"
            b.engine.go.release(6)
            for call in calls:
                assert (await call.done()).status == 200

    run(script)


def test_calls_whose_bodies_do_not_come_are_in_nobodys_way(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.app.intake.limit = 2
            slow = [b.call(stalls=True) for _ in range(20)]
            await asyncio.sleep(0.05)
            b.engine.go.release(3)
            assert (await b.call().done()).status == 200
            assert b.app.in_flight == 20
            for each in slow:
                each.leave.set()
                await each.done()
            assert b.app.at_work() == 0

    run(script)


@pytest.mark.parametrize(("most_urgent", "first"), [(0, "urgent"), (1, "plain"), (None, "plain")])
def test_the_priority_of_a_body_counts_as_far_as_it_may(
    bench: Any, keys: Any, most_urgent: int | None, first: str
) -> None:
    """The gateway has not looked into all of a long body."""

    async def script() -> None:
        async with bench() as b:
            token = keys.token(most_urgent=most_urgent)
            calls = [b.call()]
            await asyncio.sleep(0.05)
            calls.append(b.call(token=token, x_request_id="plain"))
            await calls[0].until(lambda: b.scheduler.waiting() == 1)
            calls.append(b.call(BODY | {"priority": 0}, token=token, x_request_id="urgent"))
            await calls[0].until(lambda: b.scheduler.waiting() == 2)
            b.engine.go.release(9)
            for call in calls:
                assert (await call.done()).status == 200
            assert b.events[1].request_id == first

    run(script)


def test_a_call_that_takes_too_long_is_ended(bench: Any) -> None:
    async def script() -> None:
        async with bench(timeout=1) as b:
            running = b.call()
            await running.until(lambda: b.engine.running)
            waiting, streaming = b.call(), b.call(BODY | {"stream": True})
            for call in (running, waiting, streaming):
                assert (await call.done()).status == 504
                assert call.error["code"] == "timeout"
            # Whoever comes later may begin when the first has ended, and ends at once then.
            assert {event.outcome for event in b.events} == {"cancelled"}
            assert sum(event.completion_tokens for event in b.events) == 0

    run(script)


def test_an_error_in_mid_stream_is_an_event(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.fail_after = 2
            b.engine.go.release(3)
            answer = await b.call(BODY | {"stream": True}).done()
            assert answer.status == 200
            last = answer.body.decode().split("\n\n")[-2]
            error = json.loads(last.removeprefix("data: "))["error"]
            assert (error["code"], error["type"]) == ("internal_error", "server_error")
            assert not answer.sent[-1].get("more_body")
            assert (b.events[0].outcome, b.events[0].completion_tokens) == ("failed", 2)

    run(script)


def test_an_error_before_the_stream_is_a_status(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.fail_after = 0
            b.engine.go.release(1)
            answer = await b.call(BODY | {"stream": True}).done()
            assert answer.status == 500
            assert "defect" not in answer.error["message"]
            assert b.refused == []

    run(script)


def test_draining_closes_connections(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.app.draining = True
            b.engine.go.release(3)
            answer = await b.call().done()
            assert answer.status == 200
            assert answer.headers["connection"] == "close"

    run(script)


REFUSALS = [
    pytest.param({"token": ""}, 401, "missing_credentials", id="no token"),
    pytest.param({"token": "nonsense"}, 401, "missing_credentials", id="bad token"),
    pytest.param({"path": "/v1/embeddings"}, 404, "not_found", id="not this service's"),
    pytest.param({"body": BODY | {"model": "other"}}, 400, "model_mismatch", id="other model"),
    pytest.param({"body": b"{"}, 400, "invalid_json", id="no JSON"),
    pytest.param({"body": BODY | {"x": 1}}, 400, "unknown_parameter", id="unknown field"),
    pytest.param({"content_encoding": "gzip"}, 415, "unsupported_encoding", id="compressed"),
    pytest.param(
        {"content_length": str(65 * 1024 * 1024)}, 413, "body_too_large", id="said to be large"
    ),
    pytest.param({"path": "/v1/models/tiny:predict"}, 404, "not_found", id="KServe v1"),
    pytest.param({"path": "/v2/models/tiny/infer"}, 404, "not_found", id="KServe v2"),
    pytest.param(
        {"path": "/v2/repository/models/tiny/unload"}, 404, "not_found", id="KServe unload"
    ),
    pytest.param({"path": "/metrics", "method": "GET"}, 404, "not_found", id="metrics"),
    pytest.param({"path": "/docs", "method": "GET"}, 404, "not_found", id="docs"),
    pytest.param({"path": "/openai/v1/models", "method": "GET"}, 404, "not_found", id="openai"),
    pytest.param({"path": "/v2/models/a/b/ready", "method": "GET"}, 404, "not_found", id="deeper"),
    pytest.param({"path": "/", "method": "POST"}, 404, "not_found", id="not GET"),
    pytest.param({"method": "GET"}, 405, "not_found", id="GET an endpoint"),
]


@pytest.mark.parametrize(("call", "status", "code"), REFUSALS)
def test_refusals(bench: Any, call: dict[str, Any], status: int, code: str) -> None:
    async def script() -> None:
        async with bench() as b:
            answer = await b.call(**call).done()
            assert (answer.status, answer.error["code"]) == (status, code)
            assert set(answer.error) == {"message", "type", "param", "code"}
            assert b.events == []
            assert b.passed == []
            assert b.refused == [code]
            assert b.app.in_flight == 0
            read = code in ("model_mismatch", "invalid_json", "unknown_parameter")
            assert (answer.headers.get("connection") == "close") is not read

    run(script)


def test_a_token_for_a_model_that_is_gone(bench: Any, keys: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            token = keys.token("retired")
            answer = await b.call(BODY | {"model": "retired"}, token=token).done()
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")

    run(script)


def test_a_body_is_not_read_beyond_the_limit(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.app._surface = replace(b.app._surface, max_body=100)
            parts = [b"x" * 60] * 50
            answer = await b.call(parts=parts).done()
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
            assert len(parts) == 46  # twice the limit is read, half of it only to be thrown away
            assert answer.headers["connection"] == "close"
            little = await b.call(parts=[b"x" * 60, b"x" * 60]).done()
            assert little.status == 413

    run(script)


def test_a_body_in_parts_is_one_body(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.go.release(3)
            raw = json.dumps(BODY).encode()
            answer = await b.call(parts=[raw[:5], b"", raw[5:]]).done()
            assert answer.status == 200

    run(script)


@pytest.mark.parametrize(
    "path", ["/", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/ready"]
)
def test_kserves_health_needs_no_token(bench: Any, path: str) -> None:
    async def script() -> None:
        async with bench() as b:
            answer = await b.call(path=path, method="GET", token="").done()
            assert answer.body == b"kserve"
            assert b.passed == [path]

    run(script)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\nb"])
def test_a_request_id_is_made_where_the_given_one_is_none(bench: Any, given: str) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.go.release(3)
            await b.call(x_request_id=given).done()
            assert len(b.events[0].request_id) == 32

    run(script)


# What the token says of the call's limits


@pytest.mark.parametrize("stream", [False, True])
def test_t56_a_call_is_cut_when_the_right_to_it_ends(bench: Any, keys: Any, stream: bool) -> None:
    async def script() -> None:
        async with bench() as b:
            until = int(time.time()) + 2
            token = keys.token(until=until)
            answer = b.call(BODY | {"stream": stream, "max_tokens": 1000}, token=token)
            waiting = b.call(token=token)
            b.engine.go.release(5)
            for call in (answer, waiting):
                await call.done()
            assert until <= time.time() < until + 0.5
            body = answer.body.decode()
            error = json.loads(body.split("\n\n")[-2][6:])["error"] if stream else answer.error
            assert (error["code"], error["type"]) == ("access_expired", "permission_error")
            assert answer.status == (200 if stream else 403)
            assert (waiting.status, waiting.error["code"]) == (403, "access_expired")
            assert [event.outcome for event in b.events] == ["revoked"]
            assert b.events[0].completion_tokens == 5

    run(script)


def test_a_right_that_has_ended_begins_nothing(bench: Any, keys: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            answer = await b.call(token=keys.token(until=int(time.time()) - 1)).done()
            assert (answer.status, answer.error["code"]) == (403, "access_expired")
            b.engine.go.release(3)
            far = await b.call(token=keys.token(until=2**52)).done()
            assert far.status == 200
            assert len(b.events) == 1

    run(script)


def test_a_callers_bodies_may_be_limited_more_than_others(bench: Any, keys: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            raw = json.dumps(BODY).encode()
            b.engine.go.release(6)
            fits = await b.call(token=keys.token(max_body=len(raw))).done()
            assert fits.status == 200
            refused = await b.call(token=keys.token(max_body=len(raw) - 1)).done()
            assert (refused.status, refused.error["code"]) == (413, "body_too_large")
            assert (await b.call(token=keys.token(max_body=1 << 40)).done()).status == 200
            b.app._surface = replace(b.app._surface, max_body=5)
            assert (await b.call(token=keys.token(max_body=1 << 40)).done()).status == 413

    run(script)


def test_a_caller_may_have_only_so_many_waiting(bench: Any, keys: Any) -> None:
    async def script() -> None:
        async with bench(limit=10) as b:
            mine, other = keys.token(max_queued=1), keys.token(user="usr_2", max_queued=1)
            running = b.call(token=mine)
            await running.until(lambda: b.engine.running)
            waiting = b.call(token=mine)
            await waiting.until(lambda: b.scheduler.waiting() == 1)
            refused = await b.call(token=mine).done()
            assert (refused.status, refused.error["code"]) == (429, "queue_full")
            assert int(refused.headers["retry-after"]) >= 1
            others = b.call(token=other)
            await others.until(lambda: b.scheduler.waiting() == 2)
            b.engine.go.release(9)
            for call in (running, waiting, others):
                assert (await call.done()).status == 200

    run(script)


# What comes in headers

LIMITS = "100,99,1s,9000,,6m0s"


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ({}, 200),
        ({"body": BODY | {"stream": True}}, 200),
        ({"body": b"{"}, 400),
        ({"body": BODY | {"model": "other"}}, 400),
        ({"path": "/v1/embeddings"}, 404),
        ({"x_dormouse_tag_team": ""}, 200),
    ],
)
def test_every_answer_to_a_caller_tells_the_limits(
    bench: Any, call: dict[str, Any], status: int
) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.go.release(3)
            answer = await b.call(**call, x_dormouse_limits=LIMITS).done()
            assert answer.status == status
            told = {k: v for k, v in answer.headers.items() if k.startswith("x-ratelimit-")}
            assert told == {
                "x-ratelimit-limit-requests": "100",
                "x-ratelimit-remaining-requests": "99",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-limit-tokens": "9000",
                "x-ratelimit-reset-tokens": "6m0s",
            }

    run(script)


@pytest.mark.parametrize(
    "given", ["", "1,2,3", "1,2,3,4,5,6,7", ",,,,,", "A\r\nx: y,,,,,", "a b,é,-1,(),;,\0"]
)
def test_limits_that_make_no_sense_are_not_told(bench: Any, given: str) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.go.release(3)
            answer = await b.call(x_dormouse_limits=given).done()
            assert not [name for name in answer.headers if name.startswith("x-ratelimit-")]

    run(script)


def test_strangers_are_told_no_limits(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            answer = await b.call(token="nonsense", x_dormouse_limits=LIMITS).done()
            assert answer.status == 401
            assert not [name for name in answer.headers if name.startswith("x-ratelimit-")]

    run(script)


def test_tags_and_lease_are_in_the_event(bench: Any, keys: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.engine.go.release(3)
            token = keys.token(lease="lse_1")
            told = {"x_dormouse_tag_team": "Zoë", "x_dormouse_tag_a_1": "x"}
            await b.call(body=BODY | {"stream": True}, token=token, **told).done()
            for event in (b.begun[0], b.events[0]):
                assert event.tags == {"team": "Zoë", "a-1": "x"}
                assert (event.lease, event.predictor) == ("lse_1", "00" * 16)

    run(script)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_dormouse_tag_": "x"},
        {"x_dormouse_tag__a": "x"},
        {"x_dormouse_tag_" + "a" * 33: "x"},
        {"x_dormouse_tag_a.b": "x"},
        {"x_dormouse_tag_a": "x" * 65},
        {"x_dormouse_tag_a": "a\tb"},
        {"x_dormouse_tag_a": "\udce9"},
        {f"x_dormouse_tag_{number}": "x" for number in range(17)},
    ],
    ids=repr,
)
def test_tags_that_are_none_are_refused(bench: Any, headers: dict[str, str]) -> None:
    async def script() -> None:
        async with bench() as b:
            answer = await b.call(**headers).done()
            assert (answer.status, answer.error["code"]) == (400, "invalid_value")
            assert b.events == []

    run(script)


# What is told of a call


class Meters:
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.open = 0
        self.ended: list[Any] = []

    def begin(self, _claims: Any) -> None:
        self.open += 1

    def end(self, _claims: Any, _record: None, event: Any) -> None:
        self.open -= 1
        self.ended.append(event)


def test_every_call_with_a_token_is_metered_from_beginning_to_end(bench: Any, keys: Any) -> None:
    async def script() -> None:
        async with bench() as b:
            b.app._metering = meters = Meters()
            for call in (
                {"token": "nonsense"},
                {"body": b"{"},
                {"path": "/v1/embeddings"},
                {"token": keys.token(until=1)},
                {"token": keys.token(max_body=1)},
            ):
                await b.call(**call).done()
            assert (meters.open, meters.ended) == (0, [None] * 4)
            gone = b.call()
            await gone.until(lambda: b.engine.running)
            assert meters.open == 1
            gone.leave.set()
            await gone.done()
            b.engine.go.release(3)
            await b.call().done()
            assert (meters.open, meters.ended[4:]) == (0, b.events)
            assert [event.outcome for event in b.events] == ["cancelled", "completed"]

    run(script)


def test_who_hangs_up_while_weights_are_fetched_waits_no_longer(bench: Any) -> None:
    async def script() -> None:
        async with bench() as b:

            async def fetch(_model: str) -> None:
                await asyncio.sleep(60)

            b.app._fetch, b.app._metering = fetch, (meters := Meters())
            answer = b.call()
            await answer.until(lambda: meters.open == 1)
            await asyncio.sleep(0.05)
            answer.leave.set()
            await asyncio.wait_for(answer.done(), 1)
            assert (answer.sent, meters.open, b.events) == ([], 0, [])
            assert b.scheduler.waiting() == 0

    run(script)
