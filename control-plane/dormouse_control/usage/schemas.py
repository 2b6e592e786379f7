"""Wire types of usage."""

from datetime import datetime

from dormouse_control.wire import Answer, Page


class UsageRead(Answer):
    """One call. `key_id` is null for calls made with a session.

    `compute_ms` is the model's time for it, on `gpus` GPUs. `idle_ms` is its share of the time in
    which the predictor that answered worked for nobody; null until that predictor has ended.
    `estimated`: the predictor died, and this is what it is known to have done.
    """

    request_id: str
    time: datetime
    service: str
    model: str
    endpoint: str
    outcome: str
    estimated: bool
    prompt_tokens: int
    completion_tokens: int
    audio_ms: int
    images: int
    queue_ms: int
    cold_start_ms: int
    duration_ms: int
    load_ms: int
    compute_ms: int
    gpus: int
    idle_ms: int | None
    cost: float
    key_id: str | None
    tags: dict[str, str]


class UserUsageRead(UsageRead):
    """One call of the user `user`."""

    user: str


class Totals(Answer):
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class UsagePage(Page[UsageRead]):
    """`totals` are over all the calls that you ask for, not only this page."""

    totals: Totals
    currency: str


class UserUsagePage(Page[UserUsageRead]):
    """`totals` are over all the calls that you ask for, not only this page."""

    totals: Totals
    currency: str


class UsageGroup(Totals):
    """Sums over the calls of one group, whose name is `group`: hour, day and month in UTC.

    Null is the key of calls that were made with a session, and the tag of those without it.
    `gpu_ms` is computing time times GPUs; `idle_ms` is known of predictors that have ended.
    """

    group: dict[str, str | None]
    audio_ms: int
    images: int
    compute_ms: int
    gpu_ms: int
    load_ms: int
    idle_ms: int


class UsageGroups(Page[UsageGroup]):
    currency: str
