"""Wire types of making accounts and getting into them again."""

from pydantic import Field

from dormouse_control.identity.schemas import Credentials, Password
from dormouse_control.proofs.tokens import LONGEST
from dormouse_control.wire import Answer, Body, Text

_Token = Field(max_length=LONGEST, repr=False)


class Registration(Credentials):
    invitation: Text | None = Field(default=None, max_length=LONGEST, repr=False)


class Address(Body):
    email: Text = Field(max_length=320)


class Confirmation(Body):
    token: Text = _Token


class NewPassword(Body):
    token: Text = _Token
    password: Password = Field(min_length=1, repr=False)


class FirstAdministrator(Credentials):
    token: Text = _Token


class LocalAdministrator(Body):
    """Without a password: the account that has the address becomes an administrator's."""

    email: Text = Field(max_length=320)
    password: Password | None = Field(default=None, min_length=1, repr=False)


class Accepted(Answer):
    """Says nothing: whether there is such an account is nobody's business."""
