"""What a stream tells before its answer begins, and that nobody is disturbed by it."""

import asyncio
import json
from typing import Any

import openai
import pytest

from dormouse_predictors.errors import CallError
from dormouse_predictors.outbox import Failed
from dormouse_predictors.progress import Progress, wanted
from fixtures.predictor_bench import BODY

STREAM = BODY | {"stream": True}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(comment: bytes) -> dict[str, Any]:
    assert comment.startswith(b": dormouse {")
    assert comment.endswith(b"}\n\n")
    found: dict[str, Any] = json.loads(comment.removeprefix(b": dormouse "))
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("dormouse-progress", True),
        ("wait=10, Dormouse-Progress", True),
        ("respond-async, dormouse-progress;every=2", True),
        ("dormouse-progress=1", True),
        ("", False),
        ("dormouse", False),
        ("x-dormouse-progress", False),
        ("respond-async; dormouse-progress", False),
    ],
)
def test_who_wants_it(value: str, expected: bool) -> None:
    assert wanted({b"prefer": value.encode()}) is expected
    assert not wanted({})


def test_while_a_model_is_loaded() -> None:
    clock = Clock()
    progress = Progress("tiny", expected_load_ms=2000, clock=clock)
    assert told(progress.comment("tiny", 0, 0)) == {
        "stage": "loading",
        "percent": 0,
        "eta_ms": 2000,
    }
    clock.now += 0.5
    assert told(progress.comment("tiny", 0, 0)) == {
        "stage": "loading",
        "percent": 25,
        "eta_ms": 1500,
    }
    clock.now += 60  # longer than ever before
    assert told(progress.comment("tiny", 0, 0)) == {"stage": "loading", "percent": 99, "eta_ms": 0}


def test_who_does_not_know_how_long_it_takes_does_not_say() -> None:
    assert told(Progress("tiny").comment("tiny", 0, 0)) == {"stage": "loading"}


def test_while_weights_are_fetched() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.note("tiny", "downloading", 0)
    assert told(progress.comment("tiny", 0, 0)) == {"stage": "downloading", "percent": 0}
    clock.now += 3
    progress.note("tiny", "downloading", 20)
    assert told(progress.comment("tiny", 0, 0)) == {
        "stage": "downloading",
        "percent": 20,
        "eta_ms": 12_000,
    }


def test_while_others_are_before_it_and_then_not() -> None:
    progress = Progress("tiny")
    progress.note("tiny", "ready", None)
    assert told(progress.comment("tiny", 3, 0.25)) == {
        "stage": "queued",
        "position": 3,
        "eta_ms": 1000,
    }
    assert told(progress.comment("tiny", 3, 0)) == {"stage": "queued", "position": 3}
    assert told(progress.comment("tiny", None, 0.25)) == {"stage": "answering"}


def test_a_call_is_told_of_its_own_model_only() -> None:
    progress = Progress("tiny")
    progress.note("tiny", "ready", None)
    progress.note("large", "downloading", 40)
    assert told(progress.comment("tiny", 1, 0))["stage"] == "queued"
    assert told(progress.comment("tiny", None, 0))["stage"] == "answering"
    assert told(progress.comment("large", None, 0))["stage"] == "downloading"
    progress.note("large", "ready", None)  # whoever asked for it has hung up
    assert told(progress.comment("large", None, 0))["stage"] == "answering"


def test_how_long_a_model_takes_is_not_known_from_another() -> None:
    progress = Progress("tiny", expected_load_ms=500)
    progress.note("tiny", "ready", None)
    progress.note("large", "loading", None)
    assert told(progress.comment("large", None, 0)) == {"stage": "loading"}
    progress.note("large", "ready", None)
    progress.learn("large", 9000)
    progress.note("large", "loading", None)
    assert told(progress.comment("large", None, 0))["eta_ms"] > 8000


async def _comments(exchange: Any, count: int) -> list[dict[str, Any]]:
    await exchange.until(lambda: exchange.body.count(b": dormouse") >= count)
    return [told(each + b"\n\n") for each in exchange.body.split(b"\n\n") if each[:1] == b":"]


def test_a_stream_tells_until_its_answer_begins(bench: Any) -> None:
    async def run() -> None:
        async with bench() as b:
            first = b.call(STREAM)
            await first.until(lambda: b.engine.running)
            second = b.call(STREAM, prefer="dormouse-progress")
            comments = await _comments(second, 1)
            assert comments[0]["stage"] == "queued"
            assert second.status == 200
            assert second.headers["preference-applied"] == "dormouse-progress"
            b.engine.go.release(20)
            await first.done()
            await second.done()
            assert b": dormouse" not in first.body
            answer = b"\n\n".join(
                each for each in second.body.split(b"\n\n") if not each.startswith(b":")
            )
            # Only ids and times differ.
            assert answer.count(b"data: ") == first.body.count(b"data: ") > 3
            assert answer.endswith(b"data: [DONE]\n\n")

    asyncio.run(run())


@pytest.mark.parametrize("fields", [("dormouse-progress", "wait=10"), ("x", "dormouse-progress")])
def test_preferences_may_come_in_several_fields(bench: Any, fields: tuple[str, str]) -> None:
    async def run() -> None:
        async with bench() as b:
            first = b.call(STREAM)
            await first.until(lambda: b.engine.running)
            second = b.call(STREAM, prefer=fields)
            await _comments(second, 1)
            b.engine.go.release(20)
            await first.done()
            await second.done()

    asyncio.run(run())


def test_who_does_not_stream_is_not_told(bench: Any) -> None:
    async def run() -> None:
        async with bench() as b:
            call = b.call(BODY, prefer="dormouse-progress")
            await call.until(lambda: b.engine.running)
            b.engine.go.release(3)
            await call.done()
            assert json.loads(call.body)["object"] == "chat.completion"

    asyncio.run(run())


def test_a_call_that_fails_after_it_was_told_something_ends_with_an_error_event(
    bench: Any,
) -> None:
    async def run() -> None:
        async with bench() as b:
            first = b.call(STREAM)
            await first.until(lambda: b.engine.running)
            second = b.call(STREAM, prefer="dormouse-progress", x_request_id="second")
            await _comments(second, 1)
            (entry,) = list(b.scheduler._waiting)
            entry.waiter.outbox.put(Failed(CallError(503, "insufficient_memory", "No room.")))
            await second.done()
            last = second.body.rstrip().split(b"\n\n")[-1]
            assert (
                json.loads(last.removeprefix(b"data: "))["error"]["code"] == "insufficient_memory"
            )
            b.engine.go.release(20)

    asyncio.run(run())


def test_a_predictor_that_stops_tells_those_that_still_wait(bench: Any) -> None:
    async def run() -> None:
        async with bench() as b:
            first = b.call(STREAM)
            await first.until(lambda: b.engine.running)
            second = b.call(STREAM, prefer="dormouse-progress")
            await _comments(second, 1)
            closing = asyncio.create_task(asyncio.to_thread(b.scheduler.close, 5))
            await second.done()
            assert b'"queue_full"' in second.body
            b.engine.go.release(20)
            await closing
            await first.done()

    asyncio.run(run())


def test_the_official_client_does_not_notice() -> None:
    """Its own decoder of server-sent events, on what we send."""
    comment = Progress("tiny", expected_load_ms=5).comment("tiny", None, 0)
    event = b'data: {"id": "x", "choices": []}\n\n'
    decoder = openai._streaming.SSEDecoder()
    raw = iter([comment, comment + event, comment, b"data: [DONE]\n\n"])
    found = [each.data for each in decoder.iter_bytes(raw)]
    assert found == ['{"id": "x", "choices": []}', "[DONE]"]
