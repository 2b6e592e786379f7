"""The objects that calls of administrators return, and one's workspace. As in the HTTP API."""

from dataclasses import dataclass, field
from typing import Any  # what an entry says of its change

from dormouse.accounts import Account, Entitlement, Key
from dormouse.answers import Answer
from dormouse.types import UsageTotals


@dataclass(frozen=True, kw_only=True)
class User(Answer):
    """`email` is None once the user is erased."""

    id: str
    email: str | None = None
    status: str = ""
    role: str = ""
    tier: str = ""
    created_at: str | None = None
    email_verified_at: str | None = None
    second_factor: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision(Answer):
    user: str
    service: str
    status: str = ""
    created_at: str | None = None
    expires_at: str | None = None
    reason: str | None = None
    decided_by: str | None = None
    decided_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request(Answer):
    """What waits for a decision: `kind` is "account" or "entitlement"."""

    kind: str
    user: str
    email: str | None = None
    service: str | None = None
    reason: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Access(Answer):
    """One right of one user; `through` is "own" or a group's name."""

    user: str
    service: str
    through: str = "own"
    group: str | None = None
    email: str | None = None
    role: str = ""
    tier: str = ""
    status: str = ""
    expires_at: str | None = None
    granted_by: str | None = None
    granted_at: str | None = None
    reason: str | None = None
    last_used_at: str | None = None
    keys: int = 0


@dataclass(frozen=True, kw_only=True)
class GroupEntitlement(Answer):
    service: str
    created_at: str | None = None
    expires_at: str | None = None
    reason: str | None = None
    granted_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Group(Answer):
    """`members` and `services` are counts; `entitlements` is there where one group is asked for."""

    id: str
    name: str = ""
    created_at: str | None = None
    members: int = 0
    services: int = 0
    entitlements: list[GroupEntitlement] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Member(Answer):
    user: str
    email: str | None = None
    added_by: str | None = None
    added_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tier(Answer):
    """0 is the most urgent priority. None: the platform's own limit, or no budget."""

    id: str
    title: str = ""
    highest_priority: int = 0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_calls: int | None = None
    queued_calls: int | None = None
    max_body_mb: int | None = None
    most_keys: int = 0
    monthly_budget: float | None = None
    created_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class WorkspaceService(Answer):
    id: str
    title: str = ""
    status: str = ""
    entitled: bool = False
    entitled_until: str | None = None


@dataclass(frozen=True, kw_only=True)
class WorkspaceModel(Answer):
    id: str
    title: str = ""
    service: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkspaceUsage(Answer):
    month: UsageTotals
    all: UsageTotals
    currency: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkspaceLimits(Answer):
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent_calls: int = 0
    highest_priority: int = 0
    most_keys: int = 0
    monthly_budget: float | None = None


@dataclass(frozen=True, kw_only=True)
class Workspace(Answer):
    """All that is yours."""

    account: Account
    services: list[WorkspaceService]
    models: list[WorkspaceModel]
    keys: list[Key]
    usage: WorkspaceUsage
    limits: WorkspaceLimits
    requests: list[Entitlement] = field(default_factory=list)
    sessions: int = 0


@dataclass(frozen=True, kw_only=True)
class AuditEntry(Answer):
    """Of the audit log. `hash` covers it and, by `previous`, all entries before it."""

    seq: int
    time: str
    actor: str | None = None
    credential: str | None = None
    address: str | None = None
    request_id: str | None = None
    action: str = ""
    outcome: str = ""
    subject: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    previous: str = ""
    hash: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditHead(Answer):
    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class AuditVerification(Answer):
    """`problem` is None if every entry is as it was written; `last` is the last sound one."""

    entries: int
    last: AuditHead
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class LedgerVerification(Answer):
    """Amounts in billionths of `currency`. `problems` are the first of `count`; 0: it balances.

    `rejected` usage events could not be read, so that nobody was charged for them.
    """

    calls: int
    entries: int = 0
    charged: int = 0
    outstanding: int = 0
    rejected: int = 0
    count: int = 0
    problems: list[str] = field(default_factory=list)
    currency: str = ""
