"""Wire types of usage."""

from datetime import datetime

from dormouse_control.wire import Answer


class UsageRead(Answer):
    """One call. `key_id` is null for calls made with a session."""

    request_id: str
    time: datetime
    service: str
    model: str
    endpoint: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    cold_start_ms: int
    duration_ms: int
    cost: float
    key_id: str | None


class Totals(Answer):
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class UsagePage(Answer):
    """`totals` are over all your calls, not only this page."""

    items: list[UsageRead]
    totals: Totals
    currency: str
    next: str | None
