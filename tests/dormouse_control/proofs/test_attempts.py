"""How long somebody waits after failures, and whose failures they are."""

from typing import Any

import pytest
from sqlalchemy import select, update

from dormouse_control.errors import TooManyAttempts
from dormouse_control.proofs import attempts
from dormouse_control.proofs.attempts import FREE, LONGEST_PAUSE, MOST, Attempt, pause_seconds
from dormouse_control.proofs.models import SignInAttempts
from dormouse_control.wiring import Platform

EMAIL = "ada@example.org"


def test_ten_are_free_and_then_each_waits_longer() -> None:
    assert [pause_seconds(n) for n in range(FREE)] == [0] * FREE
    assert [pause_seconds(n) for n in range(10, 21)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]
    assert pause_seconds(10**6) == LONGEST_PAUSE
    pauses = [pause_seconds(n) for n in range(MOST)]
    assert pauses == sorted(pauses)


def _count(platform: Platform, email: str = EMAIL, address: str | None = None) -> Attempt:
    with platform.database.sessions.begin() as session:
        return attempts.count(
            session,
            email=email,
            address=address,
            sealing=platform.sealing,
            now=platform.clock(),
        )


def _succeed(platform: Platform, attempt: Attempt) -> None:
    with platform.database.sessions.begin() as session:
        attempts.succeed(session, attempt, now=platform.clock())


def _set(platform: Platform, failures: int) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(SignInAttempts).values(failures=failures))


@pytest.mark.parametrize("failures", [10, 11, 15, 19, 20, 21, 50, MOST - 1])
def test_the_pause_is_exactly_what_the_table_says(
    installation: Any, clock: Any, failures: int
) -> None:
    platform = installation.platform
    _count(platform)
    _set(platform, failures)
    clock.advance(seconds=pause_seconds(failures) - 0.1)
    with pytest.raises(TooManyAttempts) as caught:
        _count(platform)
    assert caught.value.headers() == {"retry-after": "1"}
    clock.advance(seconds=0.1)
    _count(platform)


def test_after_the_most_nothing_helps_but_clearing(platform: Platform, clock: Any) -> None:
    _count(platform)
    _set(platform, MOST)
    clock.advance(days=400)
    with pytest.raises(TooManyAttempts) as caught:
        _count(platform)
    assert caught.value.retry_after == LONGEST_PAUSE
    with platform.database.sessions.begin() as session:
        attempts.clear(session, email="ADA@example.org", sealing=platform.sealing)
    _count(platform)


def test_a_refused_attempt_counts_for_nothing(platform: Platform, clock: Any) -> None:
    for _ in range(FREE):
        _count(platform)
    for _ in range(5):
        with pytest.raises(TooManyAttempts):
            _count(platform)
    clock.advance(seconds=1)
    _count(platform)


def test_a_success_begins_anew(platform: Platform) -> None:
    for _ in range(FREE):
        attempt = _count(platform)
    _succeed(platform, attempt)
    for _ in range(FREE):
        _count(platform)
    with pytest.raises(TooManyAttempts):
        _count(platform)


@pytest.mark.parametrize(
    ("home", "also_home", "elsewhere"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_an_address_that_succeeded_has_a_count_of_its_own(
    platform: Platform, home: str, also_home: str, elsewhere: str
) -> None:
    _succeed(platform, _count(platform, address=home))
    for _ in range(FREE):
        _count(platform, address=elsewhere)
    for stranger in (elsewhere, "198.51.100.9", None, "not an address"):
        with pytest.raises(TooManyAttempts):
            _count(platform, address=stranger)
    for _ in range(FREE):
        _count(platform, address=also_home)
    with pytest.raises(TooManyAttempts):
        _count(platform, address=home)


def test_accounts_do_not_share_a_count_and_spellings_do(platform: Platform) -> None:
    spellings = [EMAIL, "ADA@example.org", " ada@EXAMPLE.org ", "\uff41da@example.org", EMAIL]
    for spelling in spellings * (FREE // len(spellings)):
        _count(platform, spelling)
    for spelling in spellings:
        with pytest.raises(TooManyAttempts):
            _count(platform, spelling)
    _count(platform, "bob@example.org")


def test_what_no_longer_matters_is_dropped(platform: Platform, clock: Any) -> None:
    _succeed(platform, _count(platform, address="192.0.2.1"))
    _count(platform, "few@example.org")
    for _ in range(FREE):
        _count(platform, "many@example.org")
    assert _rows(platform) == 4
    for days, left in ((1, 4), (1, 2), (180, 1)):
        clock.advance(days=days)
        with platform.database.sessions.begin() as session:
            attempts.prune(session, now=platform.clock())
        assert _rows(platform) == left
        clock.advance(seconds=1)


def test_no_address_of_anybody_is_stored(platform: Platform) -> None:
    _succeed(platform, _count(platform, address="192.0.2.1"))
    with platform.database.reads() as reading:
        rows = reading.scalars(select(SignInAttempts)).all()
    assert {len(row.account) for row in rows} == {43}
    assert {len(row.source) for row in rows} == {0, 43}


def _rows(platform: Platform) -> int:
    with platform.database.reads() as reading:
        return len(reading.scalars(select(SignInAttempts)).all())


def test_many_at_once_get_no_more_in_than_one_by_one(installation: Any, at_once: Any) -> None:
    def one() -> bool:
        try:
            _count(installation.platform)
        except TooManyAttempts:
            return False
        return True

    assert sum(at_once(32, one)) == FREE
    installation.platform.clock.advance(seconds=1)
    assert sum(at_once(32, one)) == 1


def test_the_time_until_the_next_is_rounded_up(platform: Platform, clock: Any) -> None:
    _count(platform)
    _set(platform, 13)
    clock.advance(seconds=2.5)
    with pytest.raises(TooManyAttempts) as caught:
        _count(platform)
    assert caught.value.retry_after == 6
