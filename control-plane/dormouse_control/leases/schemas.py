"""Wire types of leases: what an authorizer holds and wants of every limit, and what it gets."""

from typing import Annotated, Literal

from pydantic import Field

from dormouse_control.leases.models import State
from dormouse_control.wire import Answer, Body

MOST = 1000
"""Items of one kind in a batch."""

# Not \w: so many times the letters of all languages take megabytes of memory.
Subject = Annotated[str, Field(pattern=r"^[0-9A-Za-z_./:-]{1,110}$")]
Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z_]{1,30}$")]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Nano = Annotated[int, Field(ge=0, lt=2**62)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[int, Field(ge=0, lt=2**63)]


class RateAsk(Body):
    """A bucket of `capacity` that refills within a minute. Of what it got the holder still has
    `held`, without `returned`, which it gives back; less than nothing if calls used more than was
    thought.
    """

    subject: Subject
    kind: Literal["requests", "tokens"]
    capacity: float = Field(gt=0, le=1e15, allow_inf_nan=False)
    held: float = Field(ge=-1e15, le=1e15, allow_inf_nan=False)
    wanted: Amount
    returned: Amount


class SlotAsk(Body):
    """Calls at once: `used` run now, and `wanted` is how many it wants to hold in all."""

    subject: Subject
    limit: Count
    used: Count
    wanted: Count


class MoneyAsk(Body):
    """Money for calls of one credential, in billionths of the currency.

    Without `lease`, a new one. `seq` grows with every step; a step that is repeated, because its
    answer was lost, has no second effect. No two leases of a holder begin with the same `seq`.
    """

    credential: Annotated[str, Field(pattern=r"^[0-9A-Za-z_]{1,64}$")]
    user: Id
    lease: Id | None
    seq: Number
    wanted: Nano
    returned: Nano


class Batch(Body):
    """`sent`, if given, grows with every batch; one that comes after a later one is refused.

    A holder begins to count at the microseconds since 1970.
    """

    holder: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    rates: list[RateAsk] = Field(default_factory=list, max_length=MOST)
    slots: list[SlotAsk] = Field(default_factory=list, max_length=MOST)
    money: list[MoneyAsk] = Field(default_factory=list, max_length=MOST)
    sent: Number | None = None
    fresh: bool = False


class RateGot(Answer):
    """`level` is what the bucket has left, `others` what other holders have of it; `wait` is how
    many seconds it takes until there is one more.
    """

    granted: float
    level: float
    others: float
    wait: float


class SlotGot(Answer):
    """It may run `held` calls at once, all in all; others hold `others`, and `free` are left."""

    held: int
    free: int
    others: int


class MoneyGot(Answer):
    """`state`: "reserved" if less than was wanted is there as long as others hold theirs, "spent"
    if charges alone use a budget up; `until` is when that begins anew, in seconds since 1970.
    """

    lease: str | None
    seq: int
    granted: int
    state: State
    others: int
    until: int | None


class Lots(Answer):
    """In the order of the batch. `holders` were heard of in the last seconds."""

    holders: int
    rates: list[RateGot]
    slots: list[SlotGot]
    money: list[MoneyGot]
