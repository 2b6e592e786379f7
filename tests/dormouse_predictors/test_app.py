"""The HTTP surface on an engine whose tokens come when the test says so."""

import asyncio
import json
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


def test_a_call_that_takes_too_long_is_ended(bench: Any) -> None:
    async def script() -> None:
        async with bench(timeout=0.2) as b:
            running, waiting = b.call(), b.call()
            streaming = b.call(BODY | {"stream": True})
            for call in (running, waiting):
                assert (await call.done()).status == 504
                assert call.error["code"] == "timeout"
            await streaming.done()
            assert [event.outcome for event in b.events] == ["cancelled"]

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
            assert not answer.sent[-1]["more_body"]
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
