"""T104, G9: limits and budgets under races over three authorizers, with the real control plane.

The authorizers are the real ones, each with pieces of its own; predictors are played by the test,
which also reports what calls cost, late, twice, or not at all.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dormouse.events import UsageEvent, to_cloudevent
from dormouse.meters import Meters
from dormouse.prices import cost_nano
from dormouse.tokens import InternalClaims, SigningKey, verify_internal
from dormouse_control.authorizer.accounting.accounts import Accounts
from dormouse_control.authorizer.accounting.leasing import Leasing
from dormouse_control.authorizer.check import Checker, Question
from dormouse_control.authorizer.credentials import Credentials
from dormouse_control.authorizer.internal_tokens import InternalTokens
from dormouse_control.authorizer.principals import Principals
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.authorizer.routes import Routes
from dormouse_control.naming import new_id
from dormouse_control.wiring import Platform
from fixtures.gate import AwakeNest, InternalApi

WAY = 64
T = TypeVar("T")
PREDICTOR = b"q" * 16


class Authorizer:
    """With the predictor that answers what it lets through."""

    def __init__(self, platform: Platform, name: str, signer: SigningKey) -> None:
        self.platform = platform
        self.source = InternalApi(platform)
        self.accounts = Accounts(Leasing(self.source, name))
        self.checker = Checker(
            credentials=Credentials(platform.access_keys),
            principals=Principals(self.source),
            routes=Routes(self.source),
            accounts=self.accounts,
            tokens=InternalTokens(lambda: signer),
            nest=AwakeNest(),
        )
        self._keys = {signer.kid: signer.private.public_key()}
        self._meters: dict[int, list[int]] = {}
        self.codes: set[str] = set()

    async def ask(self, key: str) -> InternalClaims | None:
        headers = {"authorization": f"Bearer {key}", "x-dormouse-model": "small"}
        headers["x-dormouse-bytes"] = "100"
        try:
            question = Question("POST", "/v1/chat/completions", headers)
            admitted = await self.checker.check(question)
        except Refusal as refusal:
            self.codes.add(refusal.code)
            return None
        now = time.time()
        return verify_internal(admitted.token, service="chat", keys=self._keys, now=now)

    def meter(self, claims: InternalClaims, *, ended: bool, tokens: int, cost: int) -> None:
        assert claims.account is not None
        count = self._meters.setdefault(claims.account, [0, 0, 0, 0])
        for at, more in enumerate((not ended, ended, tokens, cost)):
            count[at] += more
        began, over, used, spent = count
        self.accounts.hear(PREDICTOR, [Meters(claims.account, began, over, used, 0, spent)])

    def book(self, claims: InternalClaims, tokens: int) -> dict[str, Any]:
        """The event of a call."""
        return to_cloudevent(
            UsageEvent(
                request_id=new_id("req"),
                time=datetime.now(UTC).isoformat(),
                user=claims.user,
                credential=claims.credential,
                service="chat",
                model="small",
                endpoint="chat.completions",
                outcome="completed",
                prompt_tokens=0,
                completion_tokens=tokens,
                duration_ms=1,
                lease=claims.lease,
            )
        )


@pytest.fixture
def three(platform: Platform) -> Sequence[Authorizer]:
    signer = SigningKey("internal-1", Ed25519PrivateKey.generate())
    return [Authorizer(platform, f"authorizer-{number}", signer) for number in range(3)]


def run(three: Sequence[Authorizer], race: Callable[[], Awaitable[T]]) -> T:
    """With the end of all that it began: a request that is broken off leaves its connection."""

    async def whole() -> T:
        found = await race()
        for each in three:
            if (sending := each.accounts._leasing._sending) is not None:
                await sending
        return found

    return asyncio.run(whole())


@pytest.fixture
def key(ada: Any) -> Any:
    """Makes a key of Ada's with the limits given."""

    def make(**limits: Any) -> str:
        ada.post("/api/v1/entitlements", {"service": "chat"})
        made = ada.post("/api/v1/keys", {"name": "race", **limits})
        assert made.status_code == 201, made.text
        return str(made.json()["key"])

    return make


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_g9_no_request_over_the_limit_passes_a_race(
    three: Sequence[Authorizer], key: Any, limit: int
) -> None:
    secret = key(requests_per_minute=limit)

    async def race() -> int:
        began = time.monotonic()
        asked = [three[number % 3].ask(secret) for number in range(3 * WAY)]
        passed = sum(claims is not None for claims in await asyncio.gather(*asked))
        refilled = (time.monotonic() - began) * limit / 60
        assert passed <= limit + refilled
        return passed

    assert run(three, race) >= limit * 0.8
    assert set.union(*(each.codes for each in three)) == {"rate_limited"}


def test_g9_no_call_more_runs_at_once_than_may(three: Sequence[Authorizer], key: Any) -> None:
    secret = key(concurrent_calls=5)
    running, most = 0, 0

    async def call(authorizer: Authorizer) -> None:
        nonlocal running, most
        claims = await authorizer.ask(secret)
        if claims is None:
            return
        running += 1
        most = max(most, running)
        authorizer.meter(claims, ended=False, tokens=0, cost=0)
        await asyncio.sleep(0.01)
        running -= 1
        authorizer.meter(claims, ended=True, tokens=1, cost=0)

    async def race() -> None:
        for _ in range(5):
            await asyncio.gather(*(call(three[number % 3]) for number in range(WAY)))

    run(three, race)
    assert 1 <= most <= 5


@pytest.mark.parametrize("share", [0.1, 0.5, 1])
def test_t104_a_budget_is_passed_by_less_than_one_call(
    three: Sequence[Authorizer], platform: Platform, key: Any, share: float
) -> None:
    """Each call costs a share of the most that one can."""
    prices = platform.catalog.services["chat"].spec.prices
    most = _most(three[0])
    tokens = int(share * most / cost_nano(prices, _used(1000)) * 1000)
    one = cost_nano(prices, _used(tokens))
    limit = 10 * most
    secret = key(budget={"amount": limit / 1e9, "period": "total"})
    booked: list[dict[str, Any]] = []

    async def call(number: int) -> int:
        authorizer = three[number % 3]
        claims = await authorizer.ask(secret)
        if claims is None:
            return 0
        authorizer.meter(claims, ended=False, tokens=0, cost=0)
        await asyncio.sleep(0)
        authorizer.meter(claims, ended=True, tokens=tokens, cost=one)
        booked.append(authorizer.book(claims, tokens))
        return one

    async def book() -> None:
        sent, booked[:] = list(booked), []
        for _ in range(2):  # each is reported twice
            answer = await three[0].source._client.post("/events", json={"events": sent})
            assert not answer.json()["rejected"]

    async def race() -> int:
        spent, idle = 0, 0
        while idle < 4 and spent < 3 * limit:
            before = spent
            spent += sum(await asyncio.gather(*(call(number) for number in range(WAY))))
            if booked:
                await book()
            idle = idle + 1 if spent == before else 0
        return spent

    spent = run(three, race)
    assert limit * 0.6 < spent < limit + most
    codes = set.union(*(each.codes for each in three))
    assert codes <= {"insufficient_quota", "budget_reserved"}
    assert codes


def _used(tokens: int) -> UsageEvent:
    return UsageEvent("r", "t", "u", "c", "chat", "small", "e", "completed", 0, tokens, 1)


def _most(authorizer: Authorizer) -> int:
    async def read() -> int:
        route = await authorizer.checker._routes.find("small")
        assert route is not None
        return route.reserve["chat.completions"][0]

    return asyncio.run(read())
