"""Who works on a request: one at a time, and whoever lost it writes nothing. On both databases."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from dormouse_control.requests import claims
from dormouse_control.requests.claims import LEASE, Result
from dormouse_control.requests.models import AsyncBody, AsyncRequest, RequestStatus
from fixtures.asynchronous import ask_async
from fixtures.control_plane import FakeClock, Installation

DONE = Result(RequestStatus.COMPLETED, 200, b"{}")


@pytest.fixture
def asked(installation: Installation) -> str:
    return str(ask_async(installation.sign_up())["id"])


def _do(installation: Installation, change: Callable[..., Any], *given: Any, **more: Any) -> Any:
    with installation.platform.database.sessions.begin() as session:
        return change(session, *given, **more, now=installation.platform.clock())


def _row(installation: Installation, id: str) -> AsyncRequest:
    with installation.platform.database.reads() as reading:
        return reading.get_one(AsyncRequest, id)


def test_of_many_who_claim_it_one_gets_it(
    installation: Installation,
    asked: str,
    at_once: Callable[[int, Callable[[], Any]], list[Any]],
) -> None:
    found = at_once(8, lambda: _do(installation, claims.claim, asked))

    assert [row.attempt for row in found if row is not None] == [1]
    row = _row(installation, asked)
    assert (row.status, row.attempt, row.interruptions) == (RequestStatus.RUNNING, 1, 0)
    assert _do(installation, claims.candidates, most=9) == []


def test_a_lease_that_ran_out_is_anybodys(
    installation: Installation, asked: str, clock: FakeClock
) -> None:
    _do(installation, claims.claim, asked)
    clock.advance(seconds=LEASE.total_seconds() - 1)
    assert _do(installation, claims.renew, {asked: 1}) == {asked}
    clock.advance(seconds=LEASE.total_seconds() - 1)
    assert _do(installation, claims.claim, asked) is None
    clock.advance(seconds=1)
    assert [each.id for each in _do(installation, claims.candidates, most=9)] == [asked]

    again = _do(installation, claims.claim, asked)

    assert (again.attempt, again.interruptions) == (2, 1)
    assert again.started_at == again.created_at


def test_a_zombie_writes_nothing(installation: Installation, asked: str, clock: FakeClock) -> None:
    _do(installation, claims.claim, asked)
    clock.advance(seconds=LEASE.total_seconds())
    _do(installation, claims.claim, asked)

    assert _do(installation, claims.renew, {asked: 1}) == set()
    assert not _do(installation, claims.finish, asked, 1, DONE)
    with installation.platform.database.sessions.begin() as session:
        until = clock.time
        assert not claims.postpone(session, asked, 1, until=until, refusal=None)
    assert _row(installation, asked).status is RequestStatus.RUNNING
    assert _do(installation, claims.finish, asked, 2, DONE)
    assert not _do(installation, claims.finish, asked, 2, DONE)
    with installation.platform.database.reads() as reading:
        assert reading.scalar(select(func.count()).select_from(AsyncBody)) == 2


def test_what_was_cancelled_while_it_ran_stays_cancelled(
    installation: Installation, asked: str
) -> None:
    _do(installation, claims.claim, asked)
    assert _do(installation, claims.cancel, asked)

    assert _do(installation, claims.renew, {asked: 1}) == set()
    assert not _do(installation, claims.finish, asked, 1, DONE)
    assert _row(installation, asked).status is RequestStatus.CANCELLED
    assert not _do(installation, claims.cancel, asked)
    assert _do(installation, claims.claim, asked) is None


def test_what_was_postponed_waits_for_its_time(
    installation: Installation, asked: str, clock: FakeClock
) -> None:
    _do(installation, claims.claim, asked)
    refusal = {"code": "rate_limited"}
    with installation.platform.database.sessions.begin() as session:
        until = clock.time + timedelta(seconds=20)
        assert claims.postpone(session, asked, 1, until=until, refusal=refusal)

    assert _do(installation, claims.candidates, most=9) == []
    clock.advance(seconds=20)
    row = _do(installation, claims.claim, asked)
    assert (row.attempt, row.interruptions, row.refusal) == (2, 0, refusal)


def test_who_waited_for_too_long_has_expired(
    installation: Installation, asked: str, clock: FakeClock
) -> None:
    clock.advance(seconds=installation.platform.settings.async_deadline_seconds - 1)
    assert not _do(installation, claims.any_late)
    clock.advance(seconds=1)
    assert _do(installation, claims.any_late)
    assert _do(installation, claims.claim, asked) is None
    _do(installation, claims.expire)

    assert _row(installation, asked).status is RequestStatus.EXPIRED
    assert not _do(installation, claims.any_late)


def test_nobody_waits_behind_all_that_another_asked(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = installation.sign_up(), installation.sign_up("bob@example.org")
    monkeypatch.setattr(claims, "MOST_CANDIDATES", 3)
    hers = [ask_async(ada)["id"] for _ in range(4)]
    his = ask_async(bob)["id"]
    found = _do(installation, claims.candidates, most=2)
    assert [each.id for each in found] == [hers[0], his, hers[1]]
    assert [each.id for each in _do(installation, claims.candidates, most=1)] == [hers[0], his]
