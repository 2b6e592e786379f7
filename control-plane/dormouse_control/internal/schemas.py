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
    user: str = Field(pattern=r"^\w{1,64}$")
    session: str = Field(pattern=r"^\w{1,64}$")


Question = Annotated[KeyQuestion | SessionQuestion, Field(discriminator="kind")]


class PrincipalRead(Answer):
    """Who a credential stands for, and what they may at this moment.

    Times are seconds since 1970; null: no end. `entitlements` says until when each service may be
    called: the owner's rights, less what the credential is not for. `services`, `models`,
    `endpoints` and `ip_ranges` are the credential's own limits; null: none.
    `asked_again_at` is when a spent budget begins anew.
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
    service: str
    model: str
    endpoints: list[str]


class RoutesRead(Answer):
    models: dict[str, RouteRead]


class Events(Body):
    # More than one may be wrong without the others having to wait.
    model_config = ConfigDict(strict=False)
    events: list[Any]


class RejectedRead(Answer):
    id: str | None
    reason: str


class BookedRead(Answer):
    accepted: int
    duplicates: int
    rejected: list[RejectedRead]
