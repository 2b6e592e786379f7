"""Wire types of tiers."""

from datetime import datetime

from pydantic import Field

from dormouse_control.budgets.amounts import Money
from dormouse_control.wire import Answer, Body, Name


class TierWrite(Body):
    """All of a tier: what is absent is the default again.

    0 is the most urgent priority. A limit that is null is the platform's own. `monthly_budget`
    null: none, else in the platform's currency, down to its billionths. `queued_calls` may wait for
    one service; `max_body_mb` counts where it is less than the platform's.
    """

    title: Name
    highest_priority: int = Field(default=0, ge=0, le=2)
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000_000)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=1_000_000_000)
    concurrent_calls: int | None = Field(default=None, ge=1, le=1_000_000)
    queued_calls: int | None = Field(default=None, ge=1, le=1_000_000)
    max_body_mb: int | None = Field(default=None, ge=1, le=1024)
    most_keys: int = Field(default=100, ge=0, le=100_000)
    monthly_budget: Money | None = None


class TierRead(Answer):
    id: str
    title: str
    highest_priority: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None
    queued_calls: int | None
    max_body_mb: int | None
    most_keys: int
    monthly_budget: float | None
    created_at: datetime
