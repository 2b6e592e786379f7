"""Wire types of accounts and sessions."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from dormouse_control.identity.models import Role, UserStatus
from dormouse_control.identity.passwords import LONGEST_BYTES
from dormouse_control.wire import Answer, Body, Text


def _short(password: str) -> str:
    if len(password.encode()) > LONGEST_BYTES:
        raise ValueError(f"may have at most {LONGEST_BYTES} bytes")
    return password


Password = Annotated[Text, AfterValidator(_short)]
Code = Annotated[Text, StringConstraints(max_length=64)]


class Credentials(Body):
    email: Text = Field(max_length=320)
    password: Password = Field(min_length=1, repr=False)


class SignIn(Credentials):
    """`code` is one of the authenticator app, or a recovery code."""

    code: Code | None = Field(default=None, repr=False)


class Refresh(Body):
    refresh_token: Text = Field(max_length=128, repr=False)


class Registered(Answer):
    id: str
    email: str
    status: UserStatus


class Me(Registered):
    role: Role
    tier: str
    created_at: datetime
    credential: Literal["session", "key"]


class Tokens(Answer):
    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  not a password
    expires_in: int


class SessionRead(Answer):
    """`method`: "password" or the name of a provider. `current`: the one that asks."""

    id: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    method: str
    second_factor: bool
    address: str | None
    user_agent: str | None
    current: bool
