"""What the server says of accounts, how people sign in, their rights and keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict  # Any: a budget as it is sent

from dormouse.answers import Answer, Page


@dataclass(frozen=True, kw_only=True)
class Account(Answer):
    id: str
    email: str
    status: str = "active"
    tier: str | None = None
    created_at: str | None = None
    credential: Literal["session", "key"] | None = None


@dataclass(frozen=True, kw_only=True)
class Entitlement(Answer):
    """`status` is "active", "pending", "refused" or "expired"; `by` is "own" or "group"."""

    service: str
    status: str = "active"
    by: str = "own"
    group: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Invitation(Answer):
    """`token` is there only in the answer that creates it, and not if it was mailed."""

    id: str
    email: str | None = None
    mailed: bool = False
    tier: str = ""
    groups: list[str] = field(default_factory=list)
    created_by: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    used_at: str | None = None
    used_by: str | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class KeyBudget(Answer):
    """In the platform's currency, per "day" or "month" of UTC, or in "total"."""

    amount: float = 0
    period: str = ""


@dataclass(frozen=True, kw_only=True)
class Key(Answer):
    """`key` is there only in the answer that creates it. Limits that are None do not narrow it."""

    id: str
    name: str = ""
    prefix: str = ""
    created_at: str | None = None
    last_used_at: str | None = None
    expires_at: str | None = None
    services: list[str] | None = None
    models: list[str] | None = None
    endpoints: list[str] | None = None
    ip_ranges: list[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_calls: int | None = None
    budget: KeyBudget | None = None
    tags: dict[str, str] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class BudgetThreshold(Answer):
    """From so many percent on: "notify", "lower_priority", "refuse_gpu" or "refuse"."""

    at_percent: int
    action: str
    reached: bool = False


@dataclass(frozen=True, kw_only=True)
class Budget(Answer):
    """How much the calls of a user, key or group may cost in a period, and what they have.

    `source` is "budget" if an administrator set it, else "key" or "tier".
    """

    subject: str
    subject_id: str
    name: str | None = None
    source: str = "budget"
    period: str = ""
    limit: float = 0
    spent: float = 0
    left: float = 0
    renews_at: str | None = None
    thresholds: list[BudgetThreshold] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BudgetPage(Page[Budget]):
    items: list[Budget]
    currency: str = ""


@dataclass(frozen=True, kw_only=True)
class Provider(Answer):
    """With whom one can sign in; `url` is where a browser begins."""

    name: str
    title: str
    url: str


@dataclass(frozen=True, kw_only=True)
class SignedIn(Answer):
    """An open session. `method` is "password" or the name of a provider; `current` is this one."""

    id: str
    created_at: str | None = None
    last_used_at: str | None = None
    expires_at: str | None = None
    method: str = "password"
    second_factor: bool = False
    address: str | None = None
    user_agent: str | None = None
    current: bool = False


@dataclass(frozen=True, kw_only=True)
class Enrolment(Answer):
    """What an authenticator app needs; `uri` is what a QR code of it holds."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class RecoveryCodes(Answer):
    """Each stands in for the second factor once. They are shown this once."""

    recovery_codes: list[str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TokenAnswer(Answer):
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: float


class KeyLimits(TypedDict, total=False):
    """None: no limit. A key never has more than you have yourself at the time of a call.

    `budget` is like {"amount": 5, "period": "month"}; other periods are "day" and "total". `tags`
    like {"project": "atlas"} are put to every call in the reports.
    """

    expires_at: datetime | str | None
    services: Sequence[str] | None
    models: Sequence[str] | None
    endpoints: Sequence[str] | None
    ip_ranges: Sequence[str] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None
    budget: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
