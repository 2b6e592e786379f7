"""Wire types of tiers."""

from datetime import datetime

from pydantic import Field

from dormouse_control.wire import Answer, Body, Name


class TierWrite(Body):
    """All of a tier: what is absent is the default again.

    0 is the most urgent priority. `requests_per_minute` null: the platform's own; `monthly_budget`
    null: none, else in the platform's currency, down to its billionths.
    """

    title: Name
    highest_priority: int = Field(default=0, ge=0, le=2)
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000_000)
    most_keys: int = Field(default=100, ge=0, le=100_000)
    monthly_budget: float | None = Field(default=None, ge=1e-9, le=1e9, allow_inf_nan=False)


class TierRead(Answer):
    id: str
    title: str
    highest_priority: int
    requests_per_minute: int | None
    most_keys: int
    monthly_budget: float | None
    created_at: datetime
