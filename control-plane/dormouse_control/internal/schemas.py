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
    """Who a credential stands for. `expires_at` in seconds since 1970; null: until revoked."""

    user: str
    credential: str
    tier: str
    highest_priority: int
    requests_per_minute: int
    entitlements: list[str]
    expires_at: int | None


class RevocationRead(Answer):
    seq: int
    kind: RevocationKind
    id: str


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
