"""How much of a limit or budget a holder gets: tables, and what holds whatever happens."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from dormouse_control.leases.decisions import Bucket, Paid, Room, Seats, lend, pay, seats

LATER = datetime(2030, 2, 1, tzinfo=UTC)


def test_a_holder_gets_what_it_wants_of_what_is_left() -> None:
    lent = lend(Bucket(60, 0, 0, 0), capacity=60, elapsed=0, held=0, wanted=8, returned=0)
    assert (lent.granted, lent.held, lent.level, lent.wait) == (8, 8, 52, 0)

    lent = lend(Bucket(5, 8, 0, 0), capacity=60, elapsed=0, held=8, wanted=8, returned=0)
    assert (lent.granted, lent.held, lent.level) == (5, 13, 0)
    assert lent.wait == 1


def test_what_a_holder_does_not_say_it_has_was_used() -> None:
    lent = lend(Bucket(10, 50, 0, 0), capacity=60, elapsed=0, held=20, wanted=0, returned=5)
    assert (lent.level, lent.held) == (15, 20)


def test_a_bucket_refills_only_as_far_as_nobody_holds_it() -> None:
    lent = lend(Bucket(0, 30, 20, 0), capacity=60, elapsed=60, held=30, wanted=0, returned=0)
    assert lent.level == 10


def test_what_a_lost_holder_had_refills_only_from_now_on() -> None:
    """It may have used it a moment ago."""
    lent = lend(Bucket(0, 0, 0, 60), capacity=60, elapsed=30, held=0, wanted=60, returned=0)
    assert lent.granted == 0


def test_debts_come_from_the_level_and_are_settled_by_that() -> None:
    lent = lend(Bucket(10, 3, 0, 0), capacity=60, elapsed=0, held=-15, wanted=0, returned=0)
    assert (lent.level, lent.granted, lent.held) == (-5, 15, 0)
    assert lent.wait == 6


def test_more_than_was_given_comes_from_the_level() -> None:
    """Of an older copy of the database: the holder knows better."""
    lent = lend(Bucket(60, 0, 0, 0), capacity=60, elapsed=0, held=10, wanted=0, returned=0)
    assert (lent.level, lent.held) == (50, 10)


def test_giving_back_twice_gives_back_once() -> None:
    first = lend(Bucket(0, 10, 0, 0), capacity=60, elapsed=0, held=4, wanted=0, returned=6)
    again = lend(
        Bucket(first.level, first.held, 0, 0),
        capacity=60,
        elapsed=0,
        held=4,
        wanted=0,
        returned=6,
    )
    assert (first.level, again.level, again.held) == (6, 6, 4)


@dataclass
class _Holder:
    """Uses what it has as it likes, and loses answers."""

    number: int
    real: float = 0.0


@dataclass
class _World:
    capacity: float
    level: float
    filled: float = 0.0
    books: dict[int, float] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)

    def ask(self, holder: _Holder, now: float, *, wanted: float, returned: float) -> float:
        others = sum(h for n, h in self.books.items() if n != holder.number and self._lives(n, now))
        lost = {n for n in self.books if n != holder.number and not self._lives(n, now)}
        bucket = Bucket(
            self.level,
            self.books.get(holder.number, 0.0),
            others,
            sum(self.books.pop(n) for n in lost),
        )
        lent = lend(
            bucket,
            capacity=self.capacity,
            elapsed=now - self.filled,
            held=holder.real,
            wanted=wanted,
            returned=returned,
        )
        self.level, self.filled = lent.level, now
        self.books[holder.number], self.heard[holder.number] = lent.held, now
        return lent.granted

    def _lives(self, number: int, now: float) -> bool:
        return now - self.heard[number] <= 30


@pytest.mark.parametrize("seed", range(40))
def test_over_any_time_no_more_is_used_than_the_limit_says(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  the same dice each time
    world = _World(capacity=60, level=60)
    holders = [_Holder(n) for n in range(3)]
    now, numbers, used = 0.0, 3, list[tuple[float, float]]()
    for _ in range(1500):
        now += dice.expovariate(8)
        who = dice.randrange(3)
        holder = holders[who]
        action = dice.random()
        if action < 0.55 and holder.real >= 1 and now - world.heard[holder.number] < 30:
            holder.real -= 1
            used.append((now, 1.0))
        elif action < 0.97:
            returned = dice.choice([0.0, 0.0, holder.real / 2])
            holder.real -= returned
            granted = world.ask(holder, now, wanted=dice.choice([0, 1, 8, 60]), returned=returned)
            if dice.random() < 0.9:  # else the answer is lost
                holder.real += granted
        else:  # killed, and started again under another name
            holders[who] = _Holder(numbers)
            numbers += 1
    times = [time for time, _ in used]
    assert len(times) > 50
    for first, begin in enumerate(times):
        for last in range(first, len(times)):
            allowed = world.capacity + (times[last] - begin) * world.capacity / 60
            assert last - first + 1 <= allowed + 1e-6


@pytest.mark.parametrize(
    ("limit", "others", "used", "wanted", "got"),
    [
        (10, 0, 0, 4, Seats(4, 6)),
        (10, 8, 0, 4, Seats(2, 0)),
        (10, 10, 0, 4, Seats(0, 0)),
        (10, 10, 3, 4, Seats(3, 0)),  # what runs is not ended
        (2, 0, 5, 5, Seats(5, 0)),
    ],
)
def test_calls_at_once(limit: int, others: int, used: int, wanted: int, got: Seats) -> None:
    assert seats(limit=limit, others=others, used=used, wanted=wanted) == got


def _room(limit: int, charged: int = 0, others: int = 0, mine: int = 0) -> Room:
    return Room(limit, charged, others, mine, LATER)


@pytest.mark.parametrize(
    ("rooms", "wanted", "paid"),
    [
        ([], 7, Paid(7, "ok", 0, None)),
        ([_room(1600)], 7, Paid(100, "ok", 0, None)),
        ([_room(1600)], 0, Paid(0, "ok", 0, None)),
        ([_room(160)], 50, Paid(50, "ok", 0, None)),
        ([_room(1600), _room(100, 90)], 7, Paid(7, "ok", 0, None)),
        ([_room(100, 60, 35)], 7, Paid(5, "reserved", 35, LATER)),
        ([_room(100, 60, 30, 20)], 7, Paid(0, "reserved", 30, LATER)),
        ([_room(100, 100)], 7, Paid(0, "spent", 0, LATER)),
        ([_room(10**6), _room(100, 130, 3)], 7, Paid(0, "spent", 3, LATER)),
        ([_room(100, 100)], 0, Paid(0, "spent", 0, LATER)),
    ],
)
def test_money(rooms: list[Room], wanted: int, paid: Paid) -> None:
    assert pay(rooms, wanted) == paid
