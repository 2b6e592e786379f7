"""Calls against limits and budgets: one authorizer, several, and none to ask."""

import asyncio
import contextlib

import pytest

from dormouse.meters import Meters
from dormouse_control.authorizer.accounting import accounts as module
from dormouse_control.authorizer.accounting.accounts import Accounts, Purpose
from dormouse_control.authorizer.accounting.leasing import LeasesRefused, Leasing
from dormouse_control.authorizer.accounting.pieces import RENEW_SECONDS
from dormouse_control.authorizer.principals import Limit, Principal
from dormouse_control.authorizer.refusals import Refusal
from fixtures.lender import FakeLender

ME = b"p" * 16


def principal(*limits, budgeted=False, credential="key_1"):
    return Principal("usr_1", credential, 0, {"chat": None}, None, limits, budgeted)


def accounts(lender, name="one"):
    def clock():
        return lender.now

    return Accounts(Leasing(lender, name, clock=clock), clock=clock)


class Calls:
    """Begins calls of one account, and ends them as a predictor would."""

    def __init__(self, lender, who, reserve=0, name="one"):
        self.lender = lender
        self.books = accounts(lender, name)
        self.account = self.books.of(who, Purpose("chat", "m", reserve))
        self.began = self.ended = self.tokens = self.cost = 0

    async def begin(self):
        await self.books.admit(self.account)
        self.account.went(self.lender.now)
        self.began += 1
        self.tell()

    def end(self, tokens=0, cost=0):
        self.ended += 1
        self.tokens += tokens
        self.cost += cost
        self.tell()
        if cost:
            self.lender.charge(self.account.money.lease, cost)

    def tell(self):
        said = Meters(self.account.number, self.began, self.ended, self.tokens, 0, self.cost)
        self.books.hear(ME, [said])

    async def most(self, limit=1000):
        """How many begin until one is refused, and how it is."""
        for number in range(limit):
            try:
                await self.begin()
            except Refusal as refusal:
                return number, refusal
            self.end()
        return limit, None


@pytest.fixture
def lender():
    return FakeLender()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.001)


def run(coroutine):
    return asyncio.run(coroutine)


def test_just_as_many_requests_as_the_limit_says(lender):
    calls = Calls(lender, principal(Limit("usr_1", requests_per_minute=10)))
    number, refusal = run(calls.most())
    assert (number, refusal.status, refusal.code) == (10, 429, "rate_limited")
    assert refusal.retry_after == 6


def test_who_comes_back_when_told_is_let_through(lender):
    async def follow():
        calls = Calls(lender, principal(Limit("usr_1", requests_per_minute=7)))
        _, refusal = await calls.most()
        for _ in range(20):
            lender.now += refusal.retry_after
            number, refusal = await calls.most()
            assert number >= 1

    run(follow())


def test_a_refusal_asks_nobody_while_the_answer_is_known(lender):
    async def hammer():
        calls = Calls(lender, principal(Limit("usr_1", requests_per_minute=5)))
        await calls.most()
        asked = len(lender.batches)
        for _ in range(50):
            assert (await calls.most())[0] == 0
        return len(lender.batches) - asked

    assert run(hammer()) == 0


def test_the_header_says_what_is_left_and_following_it_is_never_refused(lender):
    async def follow():
        calls = Calls(lender, principal(Limit("usr_1", requests_per_minute=30)))
        for _ in range(200):
            await calls.begin()
            calls.end()
            limit, left, reset, *_ = calls.books.header(calls.account).split(",")
            assert limit == "30"
            if left == "0":
                lender.now += 2.1
        return reset

    assert run(follow()).endswith("s")


def test_of_several_limits_each_holds(lender):
    key, user = Limit("key_1", requests_per_minute=5), Limit("usr_1", requests_per_minute=100)
    assert run(Calls(lender, principal(key, user)).most())[0] == 5


def test_a_limit_of_a_service_is_for_its_calls_only(lender):
    other = Limit("usr_1/whisper", service="whisper", requests_per_minute=1)
    assert run(Calls(lender, principal(other)).most(50))[0] == 50


def test_calls_at_the_same_time(lender):
    async def both():
        calls = Calls(lender, principal(Limit("usr_1", concurrent=3)))
        for _ in range(3):
            await calls.begin()
        with pytest.raises(Refusal) as caught:
            await calls.begin()
        assert (caught.value.status, caught.value.code) == (429, "too_many_at_once")
        calls.end()
        await calls.begin()

    run(both())


def test_tokens_a_minute(lender):
    async def use():
        calls = Calls(lender, principal(Limit("usr_1", tokens_per_minute=1000)))
        used = []
        for _ in range(30):
            try:
                await calls.begin()
            except Refusal as refusal:
                codes.add(refusal.code)
                lender.now += refusal.retry_after
                await calls.begin()
            calls.end(tokens=400)
            used.append((lender.now, 400))
        return used

    codes = set()
    used = run(use())
    assert codes == {"tokens_limited"}
    for start, _ in used:
        within = sum(tokens for at, tokens in used if start <= at < start + 60)
        assert within <= 2000 + 400  # a full bucket, and what refills meanwhile
    assert used[-1][0] > 60 * (30 * 400 - 1000) / 1000 - 60


def test_a_budget_is_spent_to_its_end_and_passed_by_less_than_one_call(lender):
    async def spend():
        lender.budgets["usr_1"] = 1000
        calls = Calls(lender, principal(budgeted=True), reserve=300)
        for _ in range(100):
            try:
                await calls.begin()
            except Refusal as refusal:
                return calls.cost, refusal
            calls.end(cost=70)

    spent, refusal = run(spend())
    assert (refusal.status, refusal.code) == (402, "insufficient_quota")
    assert 1000 <= spent < 1300


def test_parallel_calls_at_the_edge_of_a_budget_wait_for_each_other(lender):
    async def spend():
        lender.budgets["usr_1"] = 1000
        calls = Calls(lender, principal(budgeted=True), reserve=300)
        for _ in range(4):
            await calls.begin()
        with pytest.raises(Refusal) as caught:
            await calls.begin()
        assert (caught.value.status, caught.value.code) == (429, "budget_reserved")
        for _ in range(4):
            calls.end(cost=10)
        await calls.begin()

    run(spend())


def test_a_crowd_at_the_end_of_a_budget_is_soon_told_to_come_back(lender, monkeypatch):
    """Each has a turn, but not each a turn's whole time."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0)
    lender.budgets["usr_1"] = 1000
    leases = lender.leases

    async def slowly(batch):
        lender.now += 0.2
        return await leases(batch)

    monkeypatch.setattr(lender, "leases", slowly)

    async def crowd():
        one, two = (
            Calls(lender, principal(budgeted=True, credential=key), reserve=300, name=key)
            for key in ("key_1", "key_2")
        )
        for _ in range(3):
            await one.begin()
        with pytest.raises(Refusal):
            await two.begin()
        began = lender.now
        asked = (two.begin() for _ in range(30))
        codes = {error.code for error in await asyncio.gather(*asked, return_exceptions=True)}
        assert codes == {"budget_reserved"}
        assert lender.now - began < 2 * module.PATIENCE_SECONDS

    run(crowd())


def test_calls_that_cost_nothing_need_no_budget(lender):
    lender.budgets["usr_1"] = 0
    assert run(Calls(lender, principal(budgeted=True), reserve=0).most(20))[0] == 20


@pytest.mark.parametrize("limit", [1, 10, 64, 100])
def test_three_authorizers_let_no_call_more_through_than_one_would(lender, limit):
    async def race():
        who = principal(Limit("usr_1", requests_per_minute=limit))
        three = [Calls(lender, who, name=str(number)) for number in range(3)]

        async def one(number):
            try:
                await three[number % 3].begin()
            except Refusal:
                return 0
            return 1

        return sum(await asyncio.gather(*(one(number) for number in range(192))))

    assert run(race()) <= limit


def test_three_authorizers_and_a_budget(lender):
    async def race():
        lender.budgets["usr_1"] = 1000
        three = [
            Calls(lender, principal(budgeted=True, credential=f"key_{n}"), reserve=90, name=str(n))
            for n in range(3)
        ]

        async def one(number):
            calls = three[number % 3]
            try:
                await calls.begin()
            except Refusal:
                return
            await asyncio.sleep(0)
            calls.end(cost=90)

        await asyncio.gather(*(one(number) for number in range(192)))
        return sum(each.cost for each in three)

    assert 900 <= run(race()) < 1000 + 90


def test_without_control_plane_requests_go_on_at_their_rate_and_money_only_as_far_as_leased(lender):
    async def alone():
        lender.budgets["usr_1"] = 10_000
        limit = Limit("usr_1", requests_per_minute=600)
        calls = Calls(lender, principal(limit, budgeted=True), reserve=100)
        await calls.begin()
        calls.end(cost=50)
        left = lender.budgets["usr_1"]
        lender.down = True
        for _ in range(1000):
            lender.now += 0.2
            try:
                await calls.begin()
            except Refusal as refusal:
                found = refusal.code
                break
            calls.end(cost=50)
        assert found == "control_plane_unavailable"
        assert calls.cost <= 10_000 - left + 100
        lender.down = False
        lender.now += 1  # so long nobody asks again
        await calls.begin()

    run(alone())


def test_without_control_plane_no_more_than_the_rate(lender):
    async def alone():
        calls = Calls(lender, principal(Limit("usr_1", requests_per_minute=60)))
        await calls.begin()
        lender.down = True
        begun = 0
        for _ in range(600):
            lender.now += 0.1
            try:
                await calls.begin()
            except Refusal:
                continue
            begun += 1
            calls.end()
        return begun

    assert 50 <= run(alone()) <= 60 + 8


def test_without_control_plane_as_many_at_once_as_ever(lender):
    async def alone():
        calls = Calls(lender, principal(Limit("usr_1", concurrent=4)))
        lender.down = True
        for _ in range(4):
            await calls.begin()
        with pytest.raises(Refusal):
            await calls.begin()

    run(alone())


def test_what_is_not_used_any_more_goes_back(lender):
    async def rest():
        lender.budgets["usr_1"] = 1000
        limit = Limit("usr_1", requests_per_minute=80, concurrent=8)
        calls = Calls(lender, principal(limit, budgeted=True), reserve=100)
        await calls.begin()
        calls.end(cost=40)
        for _ in range(40):
            lender.now += 1
            calls.books.sweep()
            await asyncio.sleep(0.001)
        assert lender.budgets["usr_1"] == 1000 - 40
        assert not any(lender.slots["usr_1"].values())
        assert not any(lender.buckets["usr_1", "requests"].held.values())

    run(rest())


def test_a_lost_answer_about_money_is_asked_for_again_as_it_was(lender, monkeypatch):
    async def lose():
        lender.budgets["usr_1"] = 1000
        calls = Calls(lender, principal(budgeted=True), reserve=100)
        real = lender.leases

        async def lost(batch):
            lender.down = False
            await real(batch)
            monkeypatch.setattr(lender, "leases", real)
            lender.down = True
            return await real(batch)

        monkeypatch.setattr(lender, "leases", lost)
        with pytest.raises(Refusal):
            await calls.begin()
        lender.down = False
        lender.now += 1
        sent = len(lender.batches)
        await calls.begin()
        assert lender.batches[sent]["money"] == lender.batches[sent - 1]["money"]

    run(lose())


def test_the_last_of_a_budget_goes_to_one_authorizer_only(lender):
    async def spend():
        lender.budgets["usr_1"] = 1000
        one, two = (
            Calls(lender, principal(budgeted=True, credential=f"key_{n}"), reserve=400, name=str(n))
            for n in range(2)
        )
        await one.begin()
        await two.begin()
        one.end(cost=300)
        two.end(cost=300)  # each has something left, and nobody has enough
        asked = (one.begin(), two.begin())
        return (await asyncio.gather(*asked, return_exceptions=True)).count(None)

    assert run(spend()) == 1


def test_the_last_of_a_budget_waits_for_calls_of_other_authorizers(lender):
    async def spend():
        lender.budgets["usr_1"] = 900
        one, two = (
            Calls(lender, principal(budgeted=True, credential=f"key_{n}"), reserve=400, name=str(n))
            for n in range(2)
        )
        await one.begin()
        await two.begin()
        two.end(cost=350)
        with pytest.raises(Refusal) as caught:  # 150 are left, and 400 are set aside elsewhere
            await two.begin()
        assert caught.value.code == "budget_reserved"
        one.end(cost=350)
        for _ in range(3):  # what it does not need goes back
            lender.now += RENEW_SECONDS
            one.books.sweep()
            await asyncio.sleep(0.01)
        await two.begin()

    run(spend())


def test_beside_other_authorizers_only_what_is_ours_is_promised(lender):
    async def two():
        who = principal(Limit("usr_1", requests_per_minute=640))
        calls, other = Calls(lender, who), Calls(lender, who, name="other")
        await calls.begin()
        await other.begin()
        calls.books._leasing.note(calls.account.requests[0])
        await asyncio.sleep(0.01)
        _, left, *_ = calls.books.header(calls.account).split(",")
        return int(left), calls.account.requests[0].free

    left, free = run(two())
    assert left <= free < 640 / 4


def test_permits_are_a_part_of_what_is_left_of_every_limit():
    async def share(**limits):
        lender = FakeLender(budgets={"usr_1": 10**6})
        who = principal(Limit("usr_1", **limits), budgeted=True)
        calls = Calls(lender, who, reserve=100)
        await calls.begin()
        return calls.books.share(calls.account, 64)

    assert run(share(requests_per_minute=80)) == 2
    assert run(share(requests_per_minute=8_000_000, concurrent=20)) == 1
    assert run(share(tokens_per_minute=20_000)) == 2
    assert 10 <= run(share(requests_per_minute=8_000_000)) < 10**6 / 16 / 100


def test_many_at_once_pass_a_limit_that_is_wide_enough(lender):
    async def burst():
        calls = Calls(lender, principal(Limit("usr_1", concurrent=1000)))
        await asyncio.gather(*(calls.begin() for _ in range(900)))

    run(burst())


def test_two_with_one_name_take_nothing_by_themselves(lender, monkeypatch):
    async def refused(_):
        raise LeasesRefused("A later batch of this holder was answered already.")

    async def ask():
        calls = Calls(lender, principal(Limit("usr_1", requests_per_minute=80)))
        monkeypatch.setattr(lender, "leases", refused)
        return await calls.most()

    assert run(ask())[0] == 0


def test_keys_of_one_small_budget_take_turns(lender):
    async def spend():
        lender.budgets["usr_1"] = 1500
        two = [
            Calls(lender, principal(budgeted=True, credential=f"key_{n}"), reserve=990)
            for n in range(2)
        ]
        two[1].books = two[0].books
        two[1].account = two[1].books.of(
            principal(budgeted=True, credential="key_1"), Purpose("chat", "m", 990)
        )
        done = [0, 0]

        async def work(number):
            for _ in range(20):
                with contextlib.suppress(Refusal):
                    await two[number].begin()
                    await asyncio.sleep(0.002)
                    two[number].end(cost=10)
                    done[number] += 1

        await asyncio.gather(work(0), work(1))
        return done

    assert min(run(spend())) >= 10


def test_what_a_call_waits_for_begins_ahead_unless_the_last_was_refused():
    lender = FakeLender(budgets={"usr_1": 0})
    books = accounts(lender)
    account = books.of(principal(budgeted=True), Purpose("chat", "m", 1000))
    told = []

    async def call():
        lender.now += 3600
        try:
            await books.admit(account, asking=lambda: told.append(lender.now))
        except Refusal:
            return False
        account.give_up(lender.now)
        return True

    async def scene():
        refused = [await call() for _ in range(3)]
        assert (refused, len(told)) == ([False] * 3, 1)
        lender.budgets["usr_1"] = 10**9
        assert await call()  # nobody knew
        assert len(told) == 1
        account.money.balance = 0  # it was used up
        assert await call()
        assert len(told) == 2

    asyncio.run(scene())


def test_nothing_begins_ahead_for_more_calls_at_once_than_are_allowed():
    lender, told = FakeLender(), []
    books = accounts(lender)
    who = principal(Limit("usr_1", concurrent=1))

    async def scene():
        for number, service in enumerate(("chat", "embeddings", "images")):
            account = books.of(who, Purpose(service, "m", 0))
            with contextlib.suppress(Refusal):
                await books.admit(account, asking=lambda: told.append(1))
                account.went(lender.now)
                assert number == 0

    asyncio.run(scene())
    assert len(told) == 1
