"""Fixtures: `world` is a Checker over plain stand-ins for control plane and nest.

The stand-ins implement the two Protocols (`Source`, `Nest`) and keep what they were asked.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dormouse.tokens import SigningKey, sign
from dormouse_control.authorizer.accounting.account import Account
from dormouse_control.authorizer.accounting.accounts import Accounts
from dormouse_control.authorizer.accounting.leasing import Leasing
from dormouse_control.authorizer.check import Checker
from dormouse_control.authorizer.credentials import Credentials
from dormouse_control.authorizer.decisions import Call
from dormouse_control.authorizer.internal_tokens import InternalTokens
from dormouse_control.authorizer.permits import Grant
from dormouse_control.authorizer.principals import (
    ControlPlaneDown,
    Limit,
    Principal,
    Principals,
)
from dormouse_control.authorizer.routes import Routes
from fixtures.lender import FakeLender

KEY = "dm_" + "k" * 43


@dataclass
class FakeControlPlane:
    principals: dict[str, Principal] = field(default_factory=dict)
    down: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    while_asked: Any = None

    async def principal(self, question: dict[str, str]) -> Principal | None:
        self.asked.append(question)
        if self.down:
            raise ControlPlaneDown("down")
        found = self.principals.get(question.get("sha256") or question["session"])
        if self.while_asked is not None:
            self.while_asked()
        return found

    async def routes(self, known: str | None) -> tuple[str, dict[str, dict[str, Any]]]:  # noqa: ARG002
        if self.down:
            raise ControlPlaneDown("down")
        chat = {
            "service": "chat",
            "model": "dormouse-chat",
            "endpoints": ["chat.completions", "completions"],
            "reserve": {"chat.completions": [0, 0], "completions": [500, 0]},
            "gpu": True,
            "max_body": 1_000_000,
        }
        embed = {
            "service": "embeddings",
            "model": "minilm",
            "endpoints": ["embeddings"],
            "reserve": {"embeddings": [0, 1]},
            "gpu": False,
            "max_body": None,
        }
        return "1", {"dormouse-chat": chat, "gpt-3.5": chat, "minilm": embed}


@dataclass
class FakeNest:
    answer: dict[str, Any] = field(
        default_factory=lambda: {"ok": True, "address": "127.0.0.1:9", "cold_start_ms": None}
    )
    asked: list[dict[str, Any]] = field(default_factory=list)
    expected: list[dict[str, Any]] = field(default_factory=list)

    def expect(self, **told: Any) -> None:
        self.expected.append(told)

    async def acquire(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        return self.answer


@dataclass
class FakePermits:
    """Keeps what was given."""

    given: list[tuple[Call, int, Grant, Account, int | None]] = field(default_factory=list)

    def give(self, *given: Any) -> None:
        self.given.append(given)


@dataclass
class World:
    control_plane: FakeControlPlane
    nest: FakeNest
    principals: Principals
    checker: Checker
    permits: FakePermits
    tokens: InternalTokens
    access: SigningKey
    internal: SigningKey
    lender: FakeLender
    accounts: Accounts

    def session_token(self, **changed: Any) -> str:
        claims = {
            "iss": "dormouse",
            "aud": "dormouse",
            "sub": "usr_1",
            "sid": "ses_1",
            "iat": int(time.time()),
            "exp": int(time.time()) + 60,
        }
        return sign({**claims, **changed}, typ="at+jwt", key=self.access)


def principal(**changed: Any) -> Principal:
    fields: dict[str, Any] = {
        "user": "usr_1",
        "credential": "key_1",
        "highest_priority": 1,
        "limits": (Limit("usr_1", requests_per_minute=600),),
        "entitlements": {"chat": None},
        "expires_at": None,
    }
    return Principal(**{**fields, **changed})


@pytest.fixture
def make_principal() -> Any:
    return principal


@pytest.fixture
def world() -> World:
    import hashlib

    digest = hashlib.sha256(KEY.encode()).hexdigest()
    control_plane = FakeControlPlane({digest: principal(), "ses_1": principal(credential="ses_1")})
    nest = FakeNest()
    principals = Principals(control_plane)
    access = SigningKey("access-1", Ed25519PrivateKey.generate())
    internal = SigningKey("internal-1", Ed25519PrivateKey.generate())
    permits, tokens = FakePermits(), InternalTokens(lambda: internal, "unix:meters.sock")
    lender = FakeLender(budgets={"usr_1": 10**9})
    accounts = Accounts(Leasing(lender, "authorizer"))
    checker = Checker(
        credentials=Credentials({"access-1": access.private.public_key()}),
        principals=principals,
        routes=Routes(control_plane),
        accounts=accounts,
        tokens=tokens,
        nest=nest,
        permits=permits,  # type: ignore[arg-type]
    )
    return World(
        control_plane,
        nest,
        principals,
        checker,
        permits,
        tokens,
        access,
        internal,
        lender,
        accounts,
    )
