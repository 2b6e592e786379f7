"""Who sends webhooks: nobody's receiver holds up those of others."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dormouse_control.background import Background
from dormouse_control.webhooks import decisions, posting
from dormouse_control.webhooks.models import WebhookDelivery
from dormouse_control.webhooks.sender import Sender
from dormouse_control.wiring import Platform
from fixtures.asynchronous import ask_async
from fixtures.control_plane import Account


class Receivers:
    """Those whose name begins with `slow` answer when `answering` is set; the others at once."""

    def __init__(self) -> None:
        self.answering = threading.Event()
        self.seen: list[str] = []

    async def post(self, url: str, *_: Any, **__: Any) -> int:
        self.seen.append(url)
        while url.startswith("https://slow") and not self.answering.is_set():
            await asyncio.sleep(0.01)
        return 200

    def slow(self) -> int:
        return len([url for url in self.seen if url.startswith("https://slow")])


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Receivers:
    found = Receivers()
    monkeypatch.setattr(posting, "post", found.post)
    return found


@pytest.fixture
def start(platform: Platform) -> Iterator[Callable[[], Background]]:
    background = Background([Sender(platform).run], name="requests")

    def started() -> Background:
        background.start()
        return background

    yield started
    background.stop(20)


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _ended(account: Account, url: str) -> str:
    """A request whose webhook is due."""
    account.post("/api/v1/webhook-secret", None)
    asked = str(ask_async(account, webhook=url)["id"])
    assert account.delete(f"/api/v1/requests/{asked}").status_code == 204
    return asked


def _state(account: Account, id: str) -> Any:
    return account.get(f"/api/v1/requests/{id}").json()["webhook"]["state"]


def test_t61_receivers_that_are_slow_take_some_places_of_their_owner_only(
    ada: Account,
    sign_up: Callable[..., Account],
    receivers: Receivers,
    start: Callable[[], Background],
) -> None:
    slow = [_ended(ada, f"https://slow{number}.test/") for number in range(7)]
    background = start()
    _until(lambda: receivers.slow() == decisions.MOST_OF_A_USER)

    bob = sign_up("bob@example.org")
    quick = _ended(bob, "https://quick.test/")
    _until(lambda: _state(bob, quick) == "delivered")
    assert receivers.slow() == decisions.MOST_OF_A_USER

    receivers.answering.set()
    _until(lambda: [_state(ada, id) for id in slow] == ["delivered"] * 7)
    assert len(receivers.seen) == 8
    background.stop(20)


def test_one_that_cannot_be_made_holds_up_no_other(
    ada: Account,
    receivers: Receivers,
    start: Callable[[], Background],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = _ended(ada, "https://bad.test/")
    good = _ended(ada, "https://good.test/")
    claimed = Sender._claimed

    def failing(sender: Sender, delivery: WebhookDelivery) -> Any:
        if delivery.request_id == bad:
            raise ValueError("of ours")
        return claimed(sender, delivery)

    monkeypatch.setattr(Sender, "_claimed", failing)
    start()
    _until(lambda: _state(ada, good) == "delivered")
    assert _state(ada, bad) == "pending"
    assert receivers.seen == ["https://good.test/"]


def test_what_is_on_its_way_when_it_stops_is_sent_again(
    ada: Account, receivers: Receivers, start: Callable[[], Background], clock: Any, platform: Any
) -> None:
    asked = _ended(ada, "https://slow.test/")
    background = start()
    _until(lambda: receivers.seen)
    background.stop(20)
    assert _state(ada, asked) == "pending"

    receivers.answering.set()
    clock.advance(seconds=15)
    again = Background([Sender(platform).run], name="requests")
    again.start()
    _until(lambda: _state(ada, asked) == "delivered")
    again.stop(20)
