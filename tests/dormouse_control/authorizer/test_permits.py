"""Permits by their own clock, on the real file, with the gateway's part played by hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from dormouse_control.authorizer.accounting.account import Account
from dormouse_control.authorizer.accounting.accounts import Accounts
from dormouse_control.authorizer.accounting.leasing import Leasing
from dormouse_control.authorizer.accounting.pieces import Rate
from dormouse_control.authorizer.decisions import SETTLE_SECONDS, Call, DecisionTable
from dormouse_control.authorizer.permits import ALIVE_SECONDS, MOST, SECONDS, Grant, Permits
from dormouse_control.gateway import slots
from fixtures.lender import FakeLender

CALL = Call("Bearer dm_x", "/v1/embeddings", "1", "m")


@dataclass
class World:
    path: Path
    now: float = 1000.0
    rate: Rate = field(
        default_factory=lambda: Rate("usr_1", "requests", 100, balance=100, heard_at=1000.0)
    )

    def __post_init__(self) -> None:
        self.table = DecisionTable(self.path)
        accounts = Accounts(Leasing(FakeLender(), "one"), clock=lambda: self.now)
        self.account = Account(1, "key_1", requests=[self.rate])
        self.permits = Permits(
            self.table, accounts, clock=lambda: self.now, monotonic=lambda: self.now
        )

    def give(self, worker: int = 0, **changed: Any) -> None:
        self.permits.give(CALL, worker, grant(**changed), self.account, None)

    def take(self, most: int, worker: int = 0, call: Call = CALL) -> int:
        """How many calls a gateway lets through that wants `most`."""
        words = self.table._words
        for number in range(slots.SLOTS):
            at = number * slots.WORDS
            start = (at + slots.DIGEST) * 8
            digest = self.table._bytes[start : start + slots.DIGEST_BYTES]
            if words[at] and digest == call.digest() and words[at + slots.UNTIL] > self.now:
                left = words[at + slots.ALLOWED + worker] - words[at + slots.TAKEN + worker]
                words[at + slots.TAKEN + worker] += min(left, most)
                return int(min(left, most))
        return 0

    def left(self) -> float:
        """How many requests the user's limit still has."""
        return self.rate.free


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "decisions")


def grant(**changed: Any) -> Grant:
    fields: dict[str, Any] = {
        "user": "usr_1",
        "credential": "key_1",
        "address": "127.0.0.1:9",
        "token": "Bearer t",
        "until": 1e12,
    }
    return Grant(**{**fields, **changed})


def test_decisions_count_only_while_the_authorizer_says_so(world: World) -> None:
    world.permits.sweep()
    assert world.table._words[slots.ALIVE_UNTIL] == world.now + ALIVE_SECONDS


def test_permits_come_out_of_the_limit(world: World) -> None:
    world.give()
    assert world.left() == 75
    assert world.take(100) == 25


def test_nobody_gets_more_than_most_at_once(world: World) -> None:
    world.rate.balance = 10**6
    world.give()
    assert world.take(10**6) == MOST


def test_permits_are_for_one_worker(world: World) -> None:
    world.give(1)
    assert world.take(100, worker=0) == 0
    assert world.take(100, worker=1) == 25


def test_what_was_not_used_comes_back(world: World) -> None:
    world.give()
    assert world.take(5) == 5
    world.permits.withdraw(named=["key_1"])
    assert world.take(5) == 0
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    assert world.left() == 95


def test_calls_are_counted_when_they_are_settled(world: World) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("dormouse_admitted_by_gateway_total") or 0.0

    before = counted()
    world.give()
    world.take(7)
    world.permits.withdraw_all()
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    assert counted() - before == 7


def test_it_comes_back_only_when_no_call_can_be_under_way(world: World) -> None:
    world.give()
    world.permits.withdraw_all()
    world.permits.sweep()
    assert world.left() == 75


def test_a_decision_ends_by_itself(world: World) -> None:
    world.give()
    world.now += SECONDS
    assert world.take(5) == 0
    world.permits.sweep()
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    assert world.left() == 100


def test_a_decision_ends_with_the_right(world: World) -> None:
    world.give(until=world.now + 1)
    world.now += 1
    assert world.take(5) == 0


@pytest.mark.parametrize("name", ["usr_1", "key_1", "127.0.0.1:9"])
def test_whoever_is_named_loses_it(world: World, name: str) -> None:
    world.give()
    world.permits.withdraw(named=["somebody", name])
    assert world.take(5) == 0


def test_others_keep_theirs(world: World) -> None:
    world.give()
    world.permits.withdraw(named=["usr_2"])
    world.permits.predictor_left("127.0.0.1:10")
    assert world.take(5) == 5


def test_who_knows_of_no_predictor_any_more_ends_all(world: World) -> None:
    world.give()
    world.permits.predictor_left(None)
    assert world.take(5) == 0


def test_a_new_token_takes_the_place_of_the_old(world: World) -> None:
    world.give()
    world.give(token="Bearer u")
    assert world.take(100) == int((100 - 25) / 4)


def test_a_limit_calls_back_what_was_set_aside(world: World) -> None:
    world.give()
    assert not world.permits.recall(Rate("usr_2", "requests", 100))
    assert world.permits.recall(world.rate)
    assert world.permits.recall(world.rate)  # it is still on its way back
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    assert not world.permits.recall(world.rate)
    assert world.take(5) == 0


def test_a_place_is_used_again_only_when_it_is_settled(world: World) -> None:
    for _ in range(slots.PROBES):
        world.give()
        world.permits.withdraw_all()
    before = world.left()
    world.give()
    assert world.take(5) == 0
    assert world.left() == before  # nothing more was taken for nothing
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    world.give()
    assert world.take(5) > 0


def test_a_text_that_is_too_long_is_not_decided(world: World) -> None:
    world.give(token="Bearer " + "x" * slots.TEXT_BYTES)
    assert world.take(5) == 0
    assert world.left() == 100


def test_a_call_with_a_longer_body_takes_the_place_of_a_shorter_one_and_not_the_other_way(
    world: World,
) -> None:
    longer = Account(2, "key_1", requests=[world.rate])
    world.permits.give(CALL, 0, grant(), world.account, 4096)
    world.permits.give(CALL, 0, grant(token="Bearer u"), longer, 16384)
    assert (world.account.given, longer.given) == (25, 18)
    world.permits.give(CALL, 0, grant(), world.account, 4096)
    assert longer.given > 18
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    assert world.account.given == 0


def test_what_calls_hold_is_theirs_until_they_end(world: World) -> None:
    world.give()
    world.take(5)
    world.permits.count()
    world.permits.withdraw_all()
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    assert world.account.claims(world.now) == 5


def test_calls_that_ended_make_room_for_the_next_before_they_ask(world: World) -> None:
    world.give()
    world.take(25)
    world.permits.changed(world.account)
    assert world.take(100) == int((100 - 25) / 4)


def test_who_has_enough_gets_no_more(world: World) -> None:
    world.rate.balance = 10**6
    world.give()
    world.permits.changed(world.account)
    assert world.take(10**6) == MOST


def test_nobody_is_told_of_more_requests_than_are_left(world: World) -> None:
    def rest() -> set[float]:
        words = world.table._words
        found = range(0, slots.ALIVE_UNTIL, slots.WORDS)
        return {words[at + slots.REST] for at in found if words[at]}

    other = Account(2, "key_1", requests=[world.rate])
    world.give()
    world.permits.give(Call("Bearer dm_x", "/v1/embeddings", "1", "n"), 0, grant(), other, None)
    world.permits.changed(other)
    assert rest() == {world.left()}
    world.rate.heard_at -= 3600  # the bucket has filled up since
    world.permits.changed(other)
    assert rest() == {100 - 25, 100 - 18}
    world.rate.heard_at += 3600
    world.rate.use(10, world.now)
    world.permits.changed(other)
    assert rest() == {world.left()}


def test_a_clock_that_is_set_back_keeps_nothing_from_coming_back(world: World) -> None:
    world.give()
    world.permits._clock = lambda: world.now - 3600
    world.permits.withdraw_all()
    world.now += SETTLE_SECONDS
    world.permits.sweep()
    assert world.left() == 100
