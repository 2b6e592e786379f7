"""What every noun's schemas share: strict bodies, pages, and texts that a database can hold."""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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
