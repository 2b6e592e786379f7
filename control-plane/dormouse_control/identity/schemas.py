"""Wire types of accounts, sessions and keys."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dormouse_control.identity.models import UserStatus
from dormouse_control.identity.passwords import LONGEST_BYTES
from dormouse_control.wire import Answer, Body, Name, Text


def _short(password: str) -> str:
    if len(password.encode()) > LONGEST_BYTES:
        raise ValueError(f"may have at most {LONGEST_BYTES} bytes")
    return password


Password = Annotated[Text, AfterValidator(_short)]


class Credentials(Body):
    email: Text = Field(max_length=320)
    password: Password = Field(min_length=1, repr=False)


class Refresh(Body):
    refresh_token: Text = Field(max_length=128, repr=False)


class KeyCreate(Body):
    name: Name


class Registered(Answer):
    id: str
    email: str
    status: UserStatus


class Me(Registered):
    tier: str
    created_at: datetime
    credential: Literal["session", "key"]


class Tokens(Answer):
    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  not a password
    expires_in: int


class KeyRead(Answer):
    id: str
    name: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None


class KeyCreated(Answer):
    """The only time that the key itself is shown."""

    id: str
    name: str
    key: str = Field(repr=False)
    prefix: str
    created_at: datetime
