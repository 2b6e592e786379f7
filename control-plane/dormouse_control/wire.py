"""What every noun's schemas share: strict bodies, pages, and texts that a database can hold."""

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

Item = TypeVar("Item")

# No control characters: PostgreSQL cannot store NUL, and none of them belongs into a name.
Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]*$",
    ),
]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]


def _written_out(value: object) -> object:
    # Without this, 12 and "12" would be seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and "T" in value):
        return value
    raise ValueError("must be a time with its zone, such as 2030-01-31T12:00:00Z")


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie between the years 1 and 9999") from error


# Not strict: JSON has no times, only texts.
When = Annotated[
    AwareDatetime, BeforeValidator(_written_out), AfterValidator(_utc), Field(strict=False)
]


class Body(BaseModel):
    """What a caller sends. Fields that we do not know are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """What we send."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Page(Answer, Generic[Item]):
    """`next` goes into `after` for the next page; null on the last."""

    items: list[Item]
    next: str | None = Field(default=None)


class Problem(Answer):
    """`code` is stable, `message` for people; `param` names the field that is wrong."""

    message: str = Field(examples=["There is no such service. GET /api/v1/services lists them."])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=[None])
    code: str = Field(examples=["not_found"], description="docs/reference/errors.md has all.")


class Failure(Answer):
    """Every answer from 400 on, in OpenAI's shape."""

    error: Problem
