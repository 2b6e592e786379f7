"""A revocation ends what runs, what waits and what is on its way; and nothing else."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dormouse_predictors.app import Application
from dormouse_predictors.revocations import follow
from dormouse_predictors.revoked import Revoked
from fixtures.predictor_bench import BODY

STREAM = BODY | {"stream": True, "max_tokens": 1000}


@pytest.fixture
def told(bench: Any) -> Callable[..., Any]:
    """A bench whose application hears of revocations."""

    @asynccontextmanager
    async def made(**options: Any) -> AsyncIterator[tuple[Any, Revoked]]:
        async with bench(**options) as b:
            revoked = Revoked("chat")
            b.app = Application(b.app._surface, b.scheduler, b._kserve, revoked=revoked)
            yield b, revoked

    return made


def item(seq: int = 1, **changes: Any) -> dict[str, Any]:
    found = {"seq": seq, "kind": "user", "id": "usr_test", "service": None, "cuts": True}
    return found | changes


def test_t11_a_running_stream_ends_with_an_error_and_is_charged(told: Any) -> None:
    async def script() -> None:
        async with told() as (b, revoked):
            b.engine.go.release(7)
            answer = b.call(STREAM)
            await answer.until(lambda: answer.body.count(b'"content":"t"') == 7)

            assert revoked.learn([item()]) == 1
            await answer.done()

            assert answer.status == 200
            last = answer.body.decode().split("\n\n")[-2].removeprefix("data: ")
            error = json.loads(last)["error"]
            assert (error["code"], error["type"]) == ("access_revoked", "permission_error")
            assert b"[DONE]" not in answer.body
            assert not answer.sent[-1].get("more_body")
            [event] = b.events
            assert (event.outcome, event.prompt_tokens, event.completion_tokens) == (
                "revoked",
                4,
                7,
            )

    asyncio.run(script())


def test_what_waits_is_refused_and_what_is_another_s_goes_on(told: Any, keys: Any) -> None:
    async def script() -> None:
        async with told() as (b, revoked):
            other = b.call(STREAM | {"max_tokens": 3}, token=keys.token(user="usr_2"))
            b.engine.go.release()
            await other.until(lambda: b'"content":"t"' in other.body)
            waiting = [b.call(STREAM), b.call(BODY)]
            await other.until(lambda: b.scheduler.waiting() == 2)

            assert revoked.learn([item()]) == 2
            for call in waiting:
                await call.done()
                assert (call.status, call.error["code"]) == (403, "access_revoked")
            b.engine.go.release(2)
            await other.done()

            assert other.body.endswith(b"data: [DONE]\n\n")
            assert [(event.user, event.outcome) for event in b.events] == [("usr_2", "completed")]

    asyncio.run(script())


def test_a_call_that_gave_nothing_yet_is_refused_with_a_status(told: Any) -> None:
    async def script() -> None:
        async with told() as (b, revoked):
            calls = [b.call(STREAM), b.call(BODY)]
            await calls[0].until(lambda: b.scheduler.waiting() == 1)
            await asyncio.sleep(0.05)
            assert revoked.learn([item()]) == 2
            for call in calls:
                await call.done()
                assert (call.status, call.error["code"]) == (403, "access_revoked")
            assert [event.outcome for event in b.events] == ["revoked"]

    asyncio.run(script())


def test_a_body_that_is_still_coming_is_not_waited_for(told: Any) -> None:
    async def script() -> None:
        async with told() as (b, revoked):
            answer = b.call(parts=[b"{", b'"'])
            scope = {
                "type": "http",
                "path": "/v1/chat/completions",
                "method": "POST",
                "headers": [(b"authorization", f"Bearer {b.keys.token()}".encode())],
            }
            await answer.done()
            answer.sent.clear()

            async def never() -> dict[str, Any]:
                await asyncio.Event().wait()
                raise AssertionError

            async def send(message: dict[str, Any]) -> None:
                answer.sent.append(message)

            answer.task = asyncio.create_task(b.app(scope, never, send))
            await asyncio.sleep(0.02)
            assert revoked.learn([item()]) == 1
            await answer.done()
            assert (answer.status, answer.error["code"]) == (403, "access_revoked")
            assert answer.headers["connection"] == "close"

    asyncio.run(script())


def test_a_revocation_in_the_moment_in_which_the_body_ends_is_not_lost(told: Any) -> None:
    async def script() -> None:
        async with told() as (b, revoked):
            b.engine.go.release(3)

            async def receive() -> dict[str, Any]:
                revoked.learn([item()])
                return {"type": "http.request", "body": json.dumps(BODY).encode()}

            answer = b.call(parts=[b""])
            await answer.done()
            answer.sent.clear()

            async def send(message: dict[str, Any]) -> None:
                answer.sent.append(message)

            scope = {
                "type": "http",
                "path": "/v1/chat/completions",
                "method": "POST",
                "headers": [(b"authorization", f"Bearer {b.keys.token()}".encode())],
            }
            await asyncio.wait_for(b.app(scope, receive, send), 5)
            assert (answer.status, answer.error["code"]) == (403, "access_revoked")
            assert b.events == []

    asyncio.run(script())


def test_t11_a_token_signed_before_the_revocation_is_refused_after_it(told: Any, keys: Any) -> None:
    async def script() -> None:
        async with told() as (b, revoked):
            b.engine.go.release(6)
            before, since = keys.token(revocation=0), keys.token(revocation=1)
            revoked.learn([item(1)])

            assert (await b.call(token=before).done()).error["code"] == "access_revoked"
            assert (await b.call(token=since).done()).status == 200

    asyncio.run(script())


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


def _ends(ended: list[str], name: str) -> Callable[[], None]:
    return lambda: ended.append(name)


def test_the_follower_ends_calls_and_outlives_an_absence(internal_api: Any, keys: Any) -> None:
    """The control plane's word ends a call soon, also the first one after it was away."""

    async def script() -> None:
        revoked, ended = Revoked("chat"), list[str]()
        following = asyncio.create_task(follow(str(internal_api.path), revoked))
        try:
            for number, name in enumerate(("usr_a", "usr_b")):
                claims = keys.claims(user=name, revocation=len(internal_api.revocations))
                with revoked.watched(claims) as call:
                    call.end = _ends(ended, name)
                    internal_api.down = number == 1
                    await asyncio.sleep(0.3)
                    assert name not in ended
                    internal_api.revoke(name)
                    await asyncio.sleep(0.3 if internal_api.down else 0)
                    internal_api.down = False
                    await _until(lambda name=name: name in ended)
        finally:
            internal_api.down = False
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    asyncio.run(script())


def test_a_control_plane_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    async def script() -> None:
        following = asyncio.create_task(follow(str(tmp_path / "nobody.sock"), Revoked("chat")))
        await asyncio.sleep(0.5)
        assert not following.done()
        following.cancel()

    asyncio.run(script())
