"""Wire types of leaving."""

from pydantic import Field

from dormouse_control.identity.schemas import Password
from dormouse_control.wire import Body, Text


class Erase(Body):
    """The password if the account has one, the code if it has a second factor."""

    password: Password | None = Field(default=None, repr=False)
    code: Text | None = Field(default=None, max_length=64, repr=False)
