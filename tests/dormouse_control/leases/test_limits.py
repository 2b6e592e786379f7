"""Rates and calls at once, lent to several holders."""

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from dormouse_control import housekeeping
from dormouse_control.leases import ending
from dormouse_control.leases.models import LeaseHolder, RateBucket, RatePiece, SlotPiece

Holder = Any  # of conftest


def rows(installation: Any, table: Any) -> int:
    with installation.platform.database.reads() as reading:
        return int(reading.scalar(select(func.count()).select_from(table)) or 0)


def wait(clock: Any, holders: Sequence[Holder], seconds: int) -> None:
    """While these go on to be heard of."""
    for _ in range(seconds // 5):
        clock.advance(seconds=5)
        for holder in holders:
            holder.send()


def test_holders_share_a_rate(holder: Callable[[int], Holder], clock: Any) -> None:
    one, other = holder(1), holder(2)
    assert one.rate(40) == {"granted": 40, "level": 20, "others": 0, "wait": 0}
    assert other.rate(40) == {"granted": 20, "level": 0, "others": 40, "wait": 1}
    assert one.rate(1, held=40)["granted"] == 0
    clock.advance(seconds=3)
    assert one.rate(9, held=10)["granted"] == 0  # by our books all of it was held until now
    clock.advance(seconds=3)
    assert one.rate(9, held=10)["granted"] == 3


def test_kinds_and_subjects_are_apart(holder: Callable[[int], Holder]) -> None:
    one = holder(1)
    assert one.rate(60)["granted"] == 60
    assert one.rate(60, kind="tokens")["granted"] == 60
    assert one.rate(60, subject="user_a/chat")["granted"] == 60
    assert one.rate(60, held=60)["granted"] == 0


def test_a_lost_answer_is_burnt(holder: Callable[[int], Holder]) -> None:
    one = holder(1)
    one.rate(40)
    assert one.rate(40)["granted"] == 20


def test_what_a_dead_holder_had_refills_from_when_it_is_forgotten(
    holder: Callable[[int], Holder], clock: Any
) -> None:
    dead, living = holder(1), holder(2)
    dead.rate(60)
    wait(clock, [living], 30)
    assert living.rate(60)["granted"] == 0
    wait(clock, [living], 5)
    assert living.rate(60)["granted"] == 0
    clock.advance(seconds=2)
    assert living.rate(60)["granted"] == 2


def test_tokens_that_cost_more_than_was_held(holder: Callable[[int], Holder], clock: Any) -> None:
    one, other = holder(1), holder(2)
    one.rate(10, kind="tokens")
    got = one.rate(kind="tokens", held=-70)
    assert (got["granted"], got["level"]) == (70, -20)
    assert other.rate(1, kind="tokens")["wait"] == 21
    clock.advance(seconds=21)
    assert other.rate(5, kind="tokens")["granted"] == 1


def test_a_lowered_limit_counts_at_once(holder: Callable[[int], Holder]) -> None:
    one, other = holder(1), holder(2)
    one.rate(20)
    assert other.rate(60, capacity=30)["granted"] == 10


def test_holders_share_calls_at_once(holder: Callable[[int], Holder]) -> None:
    one, other = holder(1), holder(2)
    assert one.slots(8) == {"held": 8, "free": 2, "others": 0}
    assert other.slots(8) == {"held": 2, "free": 0, "others": 8}
    assert one.slots(3, used=3) == {"held": 3, "free": 5, "others": 2}
    assert one.slots(3, used=3) == {"held": 3, "free": 5, "others": 2}  # repeated
    assert other.slots(8, used=2)["held"] == 7


def test_a_dead_holders_calls_are_over(holder: Callable[[int], Holder], clock: Any) -> None:
    dead, living = holder(1), holder(2)
    dead.slots(10)
    wait(clock, [living], 15)
    assert living.slots(10)["held"] == 0
    wait(clock, [living], 5)
    assert living.slots(10)["held"] == 10


@pytest.mark.parametrize("away", [timedelta(minutes=10), timedelta(hours=-1)], ids=str)
def test_nothing_is_lost_while_the_control_plane_is_away(
    holder: Callable[[int], Holder], clock: Any, away: timedelta
) -> None:
    """Nor when somebody sets the clock (R27)."""
    one, other = holder(1), holder(2)
    one.slots(6)
    other.slots(4)
    clock.time += away
    assert one.slots(10, used=6)["held"] == 6
    assert other.slots(4, used=4)["held"] == 4


def test_a_clock_that_was_set_back_stops_no_bucket(
    holder: Callable[[int], Holder], clock: Any
) -> None:
    one = holder(1)
    one.rate(60)
    clock.advance(hours=-1)
    one.rate(1)
    clock.advance(seconds=5)
    assert one.rate(60)["granted"] == 5


def test_who_is_there_is_counted(holder: Callable[[int], Holder], clock: Any) -> None:
    one, other = holder(1), holder(2)
    assert one.send()["holders"] == 1
    assert other.send()["holders"] == 2
    wait(clock, [one], 15)
    assert one.send()["holders"] == 1


def test_a_batch_that_comes_too_late_is_refused(
    installation: Any, holder: Callable[[int], Holder]
) -> None:
    one = holder(1)
    one.send(sent=10**15 + 7)
    for number in (10**15 + 6, 10**15 + 7):
        late = {"holder": one.name, "sent": number}
        assert installation.internal.post("/internal/v1/leases", json=late).status_code == 409
    assert one.send(sent=10**15 + 8)["holders"] == 1
    assert one.send(sent=10**15 - 10**9)["holders"] == 1  # begun again, with another clock


def test_a_batch_of_hundreds_is_answered_in_its_order(holder: Callable[[int], Holder]) -> None:
    asks = [
        {
            "subject": f"user_{number:03}",
            "kind": "requests",
            "capacity": number + 1,
            "held": 0,
            "wanted": 1000,
            "returned": 0,
        }
        for number in reversed(range(300))
    ]
    got = holder(1).send(rates=asks)["rates"]
    assert [each["granted"] for each in got] == [ask["capacity"] for ask in asks]


@pytest.mark.parametrize(
    "batch",
    [
        {"holder": "x"},
        {"rates": [{"subject": "a b"}]},
        {"rates": 7},
        {"slots": [{"subject": "a", "limit": -1, "used": 0, "wanted": 0}]},
        {"more": 1},
    ],
    ids=str,
)
def test_nonsense_is_refused(installation: Any, batch: dict[str, Any]) -> None:
    body = {"holder": "0" * 16} | batch
    assert installation.internal.post("/internal/v1/leases", json=body).status_code == 422


def test_not_a_number_is_refused(installation: Any) -> None:
    ask = '{"subject":"a","kind":"tokens","capacity":1,"held":NaN,"wanted":1,"returned":0}'
    body = f'{{"holder": "{"0" * 16}", "rates": [{ask}]}}'
    json = {"content-type": "application/json"}
    answer = installation.internal.post("/internal/v1/leases", content=body, headers=json)
    assert answer.status_code == 422


def test_what_nobody_needs_is_forgotten(
    installation: Any, holder: Callable[[int], Holder], clock: Any
) -> None:
    one, other = holder(1), holder(2)
    one.rate(10, subject="idle")
    one.rate(held=10, subject="idle", returned=0)
    one.rate(held=0, returned=10, subject="idle")
    one.rate(held=-60 * 70.0, subject="indebted")
    one.slots(3)
    for _ in range(750):
        clock.advance(seconds=5)
        other.send()
        if math.fmod(_, 15) == 0:
            other.rate(1, held=1, subject="busy")
    ending.sweep(installation.platform.database.sessions, now=clock())

    with installation.platform.database.reads() as reading:
        found = set(reading.scalars(select(RateBucket.id)))
    assert found == {"requests:busy", "requests:indebted"}
    assert rows(installation, RatePiece) == 2
    assert rows(installation, SlotPiece) == 0
    assert rows(installation, LeaseHolder) == 1


def test_housekeeping_sweeps(
    installation: Any, holder: Callable[[int], Holder], clock: Any
) -> None:
    holder(1).rate(60, held=0)
    holder(1).rate(0, held=0, returned=60)
    clock.advance(hours=2)
    housekeeping.tend(installation.platform)
    assert rows(installation, RateBucket) == 0


def test_calls_of_a_holder_that_was_started_anew_keep_their_places_for_a_while(
    holder: Callable[[int], Holder], clock: Any
) -> None:
    one = holder(1)
    one.slots(4, used=4, limit=5)
    one.send(fresh=True)
    assert one.slots(5, limit=5) == {"held": 1, "free": 0, "others": 4}
    clock.advance(seconds=5)
    one.send(fresh=True)  # and once more
    assert one.slots(5, limit=5)["held"] == 0
    wait(clock, [one], 20)
    assert one.slots(5, limit=5)["held"] == 5
