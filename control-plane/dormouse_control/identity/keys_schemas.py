"""Wire types of API keys."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dormouse.events import MAX_TAG_VALUE, MAX_TAGS, are_tags
from dormouse_control.budgets.amounts import Money
from dormouse_control.identity import addresses
from dormouse_control.wire import Answer, Body, Name, Text, When

_Word = Annotated[Text, Field(min_length=1, max_length=128)]


def _sorted(values: list[str]) -> list[str]:
    if not values:
        raise ValueError("an empty list would let the key do nothing; use null for no limit")
    return sorted(set(values))


def _ranges(values: list[str]) -> list[str]:
    return _sorted([addresses.normal(each) for each in values])


Words = Annotated[list[_Word], Field(max_length=200), AfterValidator(_sorted)]
Ranges = Annotated[list[_Word], Field(max_length=50), AfterValidator(_ranges)]


def _tags(values: dict[str, str]) -> dict[str, str]:
    if not are_tags(values):
        raise ValueError(
            f"at most {MAX_TAGS} names of lower case letters, digits and hyphens, each with a text"
            f" of 1 to {MAX_TAG_VALUE} printable characters"
        )
    return values


Tags = Annotated[dict[str, str], AfterValidator(_tags)]


class Budget(Body):
    """In the platform's currency, down to its billionths. Days and months are UTC's."""

    amount: Money
    period: Literal["day", "month", "total"]


class KeyLimits(Body):
    """What is null or absent does not narrow what you may yourself. `tags` are put to every call
    in the reports, under the call's own ones.
    """

    expires_at: When | None = None
    services: Words | None = None
    models: Words | None = None
    endpoints: Words | None = None
    ip_ranges: Ranges | None = None
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000_000)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=1_000_000_000)
    concurrent_calls: int | None = Field(default=None, ge=1, le=1_000_000)
    budget: Budget | None = None
    tags: Tags | None = None


class KeyCreate(KeyLimits):
    name: Name


class KeyChange(KeyLimits):
    """What is absent stays as it is; null takes a limit away."""

    # A name can be absent, but not null.
    name: Name = Field(default="")


class BudgetRead(Answer):
    amount: float
    period: Literal["day", "month", "total"]


class KeyRead(Answer):
    """A limit that is null does not narrow what you may yourself."""

    id: str
    name: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    services: list[str] | None
    models: list[str] | None
    endpoints: list[str] | None
    ip_ranges: list[str] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None
    budget: BudgetRead | None
    tags: dict[str, str]


class KeyCreated(KeyRead):
    """The only time that the key itself is shown."""

    key: str = Field(repr=False)
