"""Wire types of passwords and second factors."""

from pydantic import Field

from dormouse_control.identity.schemas import Code, Password
from dormouse_control.wire import Answer, Body


class PasswordChange(Body):
    current: Password = Field(min_length=1, repr=False)
    new: Password = Field(min_length=1, repr=False)


class SecondFactorStart(Body):
    password: Password = Field(min_length=1, repr=False)


class SecondFactorCode(Body):
    code: Code = Field(repr=False)


class SecondFactorRemove(Body):
    password: Password = Field(min_length=1, repr=False)
    code: Code = Field(repr=False)


class Enrolled(Answer):
    """The only time that the secret is shown."""

    secret: str = Field(repr=False)
    uri: str = Field(repr=False)


class RecoveryCodes(Answer):
    """The only time that they are shown. Each stands in for the second factor once."""

    recovery_codes: list[str] = Field(repr=False)
