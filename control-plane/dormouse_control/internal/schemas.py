"""Wire types between our own processes."""

from typing import Annotated, Any, Literal  # events are checked one by one

from pydantic import ConfigDict, Field

from dormouse_control.identity.models import RevocationKind
from dormouse_control.wire import Answer, Body


class KeyQuestion(Body):
    kind: Literal["key"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class SessionQuestion(Body):
    kind: Literal["session"]
    # Not \w: 64 times the letters of all languages take 5 MB of memory.
    user: str = Field(pattern=r"^[0-9A-Za-z_]{1,64}$")
    session: str = Field(pattern=r"^[0-9A-Za-z_]{1,64}$")


class DelegatedQuestion(Body):
    """By the id of a key or session, which only the control plane may write into a token."""

    kind: Literal["delegated"]
    user: str = Field(pattern=r"^[0-9A-Za-z_]{1,64}$")
    credential: str = Field(pattern=r"^[0-9A-Za-z_]{1,64}$")


AnyQuestion = KeyQuestion | SessionQuestion | DelegatedQuestion
Question = Annotated[AnyQuestion, Field(discriminator="kind")]


class LimitRead(Answer):
    """What may be asked for under `subject`: by all calls, or those to one service. Null: all."""

    subject: str
    service: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None


class PrincipalRead(Answer):
    """Who a credential stands for, and what they may at this moment.

    Times are seconds since 1970; null: no end. `entitlements` says until when each service may be
    called: the owner's rights, less what the credential is not for. `services`, `models`,
    `endpoints` and `ip_ranges` are the credential's own limits; null: none.
    `max_queued` is in calls and `max_body` in bytes; null: what service and platform allow.
    `budgeted`: calls are paid from a budget. What budgets have taken away, also of
    `highest_priority`, is to be asked for anew at `asked_again_at`.
    """

    user: str
    credential: str
    tier: str
    highest_priority: int
    requests_per_minute: int
    key_requests_per_minute: int | None
    entitlements: dict[str, int | None]
    services: list[str] | None
    models: list[str] | None
    endpoints: list[str] | None
    ip_ranges: list[str] | None
    expires_at: int | None
    over_budget: bool
    asked_again_at: int | None
    limits: list[LimitRead]
    budgeted: bool
    refuse_gpu: bool
    max_queued: int | None
    max_body: int | None
    tags: dict[str, str]


class RevocationRead(Answer):
    seq: int
    kind: RevocationKind
    id: str
    service: str | None
    cuts: bool


class RevocationsRead(Answer):
    last: int
    reset: bool
    items: list[RevocationRead]


class RouteRead(Answer):
    """Where a name leads. `context` is in tokens, `max_body` in bytes (null: the platform's).

    `gpu` says whether its predictors ask for one. `reserve` is what a call of each endpoint costs
    at most, in billionths: always, and more for each byte of its body.
    """

    service: str
    model: str
    endpoints: list[str]
    context: int
    gpu: bool
    reserve: dict[str, tuple[int, int]]
    max_body: int | None


class RoutesRead(Answer):
    """`models` is null for who knows this version."""

    version: str
    models: dict[str, RouteRead] | None


class Events(Body):
    # More than one may be wrong without the others having to wait.
    model_config = ConfigDict(strict=False)
    events: list[Any]


class PeriodBody(Body):
    """How long a predictor was there. Times in ms since 1970; `load_ms` until it was ready."""

    instance: str = Field(pattern=r"^[0-9a-f]{32}$")
    service: str = Field(pattern=r"^[-a-z0-9]{1,64}$")
    gpus: int = Field(ge=0, le=1024)
    woke: int = Field(ge=0, lt=2**45)
    ended: int = Field(ge=0, lt=2**45)
    load_ms: int = Field(ge=0, lt=2**45)


class Periods(Body):
    periods: list[PeriodBody] = Field(max_length=1000)


class PeriodsRead(Answer):
    accepted: int
    duplicates: int


class RejectedRead(Answer):
    id: str | None
    reason: str


class BookedRead(Answer):
    accepted: int
    duplicates: int
    rejected: list[RejectedRead]
