"""The ASGI face: allowed, refused, hung up, and a defect that must not let anybody pass."""

import asyncio
import json

from dormouse_control.authorizer import app
from dormouse_control.authorizer.app import Authorizer
from dormouse_control.authorizer.check import Admitted
from dormouse_control.authorizer.refusals import Refusal


class StubChecker:
    def __init__(self, answer):
        self.answer = answer
        self.cancelled = False
        self.question = None

    async def check(self, question):
        self.question = question
        if self.answer == "wait":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def call(answer, *, hang_up=False):
    checker = StubChecker(answer)
    sent = []

    async def receive():
        if not sent and not getattr(checker, "asked", False):
            checker.asked = True
            return {"type": "http.request"}
        await asyncio.sleep(0.01 if hang_up else 30)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": b"/v1/completions",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer x"), (b"x-request-id", b"r1")],
    }
    asyncio.run(Authorizer(checker)(scope, receive, send))
    return checker, sent


def test_allowed():
    checker, (start, _) = call(Admitted("127.0.0.1:1", "token", "600,599,1s,,,"))
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"authorization"] == b"Bearer token"
    assert headers[b"x-envoy-original-dst-host"] == b"127.0.0.1:1"
    assert checker.question.path == "/v1/completions"


def test_refused_in_the_one_error_shape():
    _, (start, end) = call(Refusal(429, "queue_full", "Full.", retry_after=3))
    assert start["status"] == 429
    assert dict(start["headers"])[b"retry-after"] == b"3"
    assert json.loads(end["body"]) == {
        "error": {
            "message": "Full.",
            "type": "rate_limit_error",
            "param": None,
            "code": "queue_full",
        }
    }


def test_who_hangs_up_leaves_the_queue_and_gets_nothing():
    checker, sent = call("wait", hang_up=True)
    assert checker.cancelled
    assert sent == []


def test_a_defect_refuses():
    _, (start, end) = call(RuntimeError("secret detail"))
    assert start["status"] == 460  # which the gateway turns into 500
    assert b"secret" not in end["body"]


def test_more_calls_than_anybody_could_answer_are_told_to_come_back(monkeypatch):
    monkeypatch.setattr(app, "MOST_AT_ONCE", 0)
    checker, (start, end) = call(Admitted("127.0.0.1:1", "token", "600,599,1s,,,"))
    assert start["status"] == 463  # which the gateway turns into 503
    assert dict(start["headers"])[b"retry-after"] == b"1"
    assert json.loads(end["body"])["error"]["code"] == "overloaded"
    assert checker.question is None


def test_what_is_left_of_limits_goes_along_and_comes_with_refusals():
    _, (start, _) = call(Admitted("127.0.0.1:1", "token", "600,599,1s,,,"))
    assert dict(start["headers"])[b"x-dormouse-limits"] == b"600,599,1s,,,"
    _, (start, _) = call(Refusal(429, "rate_limited", "m", limits="600,0,1m0s,,,"))
    headers = dict(start["headers"])
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers[b"x-ratelimit-reset-requests"] == b"1m0s"
    assert b"x-ratelimit-limit-tokens" not in headers
