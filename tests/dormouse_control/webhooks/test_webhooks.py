"""Secrets, promises and messages of webhooks."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dormouse_control.requests import claims
from dormouse_control.requests.claims import Result
from dormouse_control.requests.models import AsyncRequest, RequestStatus
from dormouse_control.webhooks import outbox, posting, secrets
from dormouse_control.webhooks.models import DeliveryState, WebhookDelivery
from dormouse_control.webhooks.signing import signed_headers
from dormouse_control.wiring import Platform
from fixtures.asynchronous import ask_async, send_async
from fixtures.control_plane import Account

PATH = "/api/v1/webhook-secret"
URL = "https://hooks.example.org/x"


def test_the_signature_is_the_one_of_the_standard() -> None:
    """The example of the Standard Webhooks specification's libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(
        b'{"test": 2432232314}',
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        secrets=[secret],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def _signing(platform: Platform, user: str) -> tuple[bytes, ...]:
    with platform.database.reads() as reading:
        now = platform.clock()
        return secrets.signing(reading, user, sealing=platform.sealing, now=now)


def test_a_secret_is_shown_once_and_the_one_before_signs_for_a_day(
    ada: Account, platform: Platform, clock: Any
) -> None:
    assert ada.get(PATH).json() == {"created_at": None, "previous_until": None}
    shown = [ada.post(PATH, None).json()["secret"] for _ in range(2)]
    raw = [base64.b64decode(each.removeprefix("whsec_")) for each in shown]

    assert [len(each) for each in raw] == [32, 32]
    assert _signing(platform, ada.id) == (raw[1], raw[0])
    assert ada.get(PATH).json() == {
        "created_at": "2030-01-01T00:00:00Z",
        "previous_until": "2030-01-02T00:00:00Z",
    }
    key = ada.client.post(PATH, headers={"authorization": f"Bearer {ada.key()['key']}"})
    assert key.json()["error"]["code"] == "session_required"
    both = signed_headers(b"x", id="a", timestamp=1, secrets=raw)["webhook-signature"].split()
    second = base64.b64encode(hmac.digest(raw[1], b"a.1.x", hashlib.sha256)).decode()
    assert both[1] == f"v1,{second}"
    clock.advance(hours=24)
    assert _signing(platform, ada.id) == (raw[1],)


def test_a_webhook_needs_a_secret_and_a_good_address(ada: Account) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    answer = send_async(ada, webhook=URL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "webhook_secret_missing")
    ada.post(PATH, None)
    for url in ("http://hooks.example.org/", "https://127.0.0.1/", "https://localhost@x/", "x"):
        answer = send_async(ada, webhook=url)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_value")
        assert answer.json()["error"]["param"] == "x-dormouse-webhook"
    assert ada.get("/api/v1/requests").json()["items"] == []

    found = ask_async(ada, webhook=URL)["webhook"]
    assert (found["url"], found["state"], found["attempts"]) == (URL, "waiting", 0)


@pytest.fixture
def asked(ada: Account) -> str:
    ada.post(PATH, None)
    return str(ask_async(ada, webhook=URL)["id"])


def _due(platform: Platform) -> list[WebhookDelivery]:
    with platform.database.reads() as reading:
        return list(outbox.waiting(reading, now=platform.clock()))


def _finish(platform: Platform, id: str) -> None:
    with platform.database.sessions.begin() as session:
        claims.claim(session, id, now=platform.clock())
        result = Result(RequestStatus.COMPLETED, 200, b"{}")
        claims.finish(session, id, 1, result, now=platform.clock())


def _cancel(platform: Platform, id: str) -> None:
    with platform.database.sessions.begin() as session:
        claims.cancel(session, id, now=platform.clock())


@pytest.mark.parametrize("end", [_finish, _cancel])
def test_it_is_due_at_the_end_whatever_that_is(
    platform: Platform, asked: str, end: Callable[[Platform, str], None]
) -> None:
    assert _due(platform) == []
    end(platform, asked)
    assert [each.request_id for each in _due(platform)] == [asked]


def test_it_is_due_when_its_request_expires(platform: Platform, asked: str, clock: Any) -> None:
    clock.advance(seconds=platform.settings.async_deadline_seconds)
    with platform.database.sessions.begin() as session:
        claims.expire(session, now=platform.clock())
    assert [each.request_id for each in _due(platform)] == [asked]


def _claim(platform: Platform, delivery: WebhookDelivery) -> bool:
    with platform.database.sessions.begin() as session:
        return outbox.claim(session, delivery, now=platform.clock())


def test_of_many_who_send_it_one_does(
    platform: Platform,
    asked: str,
    at_once: Callable[[int, Callable[[], Any]], list[Any]],
) -> None:
    _cancel(platform, asked)
    [delivery] = _due(platform)
    assert sum(at_once(6, lambda: _claim(platform, delivery))) == 1
    assert _due(platform) == []


def _attempt(platform: Platform, reply: int | None) -> DeliveryState:
    [delivery] = _due(platform)
    assert _claim(platform, delivery)
    state = _note(platform, delivery, reply)
    assert state is not None
    return state


def _note(platform: Platform, delivery: WebhookDelivery, reply: int | None) -> DeliveryState | None:
    with platform.database.sessions.begin() as session:
        now = platform.clock()
        return outbox.note(session, delivery, reply=reply, problem=None, now=now)


def test_while_an_attempt_lasts_nobody_begins_another(
    platform: Platform, asked: str, clock: Any
) -> None:
    _cancel(platform, asked)
    [first] = _due(platform)
    assert _claim(platform, first)
    clock.advance(seconds=posting.SECONDS)
    assert _due(platform) == []

    clock.advance(seconds=15 - posting.SECONDS)
    [second] = _due(platform)
    assert _claim(platform, second)
    assert _note(platform, first, 410) is None
    assert _note(platform, second, 200) is DeliveryState.DELIVERED
    assert _note(platform, first, None) is None
    assert _due(platform) == []


def test_users_take_turns(
    platform: Platform, ada: Account, sign_up: Callable[..., Account], clock: Any
) -> None:
    bob = sign_up("bob@example.org")
    for account in (ada, ada, ada, bob):
        account.post(PATH, None)
        _cancel(platform, ask_async(account, webhook=URL)["id"])
        clock.advance(seconds=1)
    assert [each.user_id for each in _due(platform)] == [ada.id, bob.id, ada.id, ada.id]


def test_so_many_are_on_their_way_and_no_more(ada: Account, platform: Platform) -> None:
    object.__setattr__(platform.settings, "async_requests", 1)
    ada.post(PATH, None)
    for _ in range(5):
        _cancel(platform, ask_async(ada, webhook=URL)["id"])
    answer = send_async(ada, webhook=URL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "requests_take_too_much")
    assert answer.json()["error"]["param"] == "x-dormouse-webhook"
    assert send_async(ada).status_code == 202


def test_what_somebody_is_still_told_of_is_not_erased(
    platform: Platform, asked: str, clock: Any
) -> None:
    _cancel(platform, asked)
    clock.advance(hours=25)
    with platform.database.sessions.begin() as session:
        claims.prune(session, kept=timedelta(hours=24), now=clock())
    assert [each.request_id for each in _due(platform)] == [asked]
    assert _attempt(platform, None) is DeliveryState.GIVEN_UP
    with platform.database.sessions.begin() as session:
        claims.prune(session, kept=timedelta(hours=24), now=clock())
        assert session.get(AsyncRequest, asked) is None


@pytest.mark.parametrize(
    ("reply", "state"),
    [(200, "delivered"), (204, "delivered"), (410, "given_up"), (302, "pending"), (500, "pending")],
)
def test_what_an_answer_means(
    platform: Platform, ada: Account, asked: str, reply: int, state: str
) -> None:
    _cancel(platform, asked)
    assert _attempt(platform, reply).value == state
    found = ada.get(f"/api/v1/requests/{asked}").json()["webhook"]
    assert (found["state"], found["reply"], found["attempts"]) == (state, reply, 1)
    assert (found["next_at"] is None) == (state != "pending")


def test_it_is_tried_ever_more_slowly_for_half_a_day(
    platform: Platform, asked: str, clock: Any
) -> None:
    _cancel(platform, asked)
    began, tried = clock.time, 0
    while _attempt(platform, None) is DeliveryState.PENDING:
        tried += 1
        clock.advance(seconds=outbox.pause(tried - 1).total_seconds())

    assert clock.time - began >= timedelta(hours=12)
    assert 15 < tried < 30
    assert [outbox.pause(number).total_seconds() for number in (0, 1, 2, 30)] == [2, 6, 18, 3600]
