"""Wire types of sign-ins through providers."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from dormouse_control.oidc.redirects import LONGEST as LONGEST_REDIRECT
from dormouse_control.proofs.tokens import LONGEST as LONGEST_CODE
from dormouse_control.wire import Answer, Body, Text

# RFC 7636: the SHA-256 of a verifier, and the verifier itself.
Challenge = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Verifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{43,128}$")]


class ProviderRead(Answer):
    """`url` begins a sign-in; its parameters are those of `authorize`."""

    name: str
    title: str
    url: str


class LoginCode(Body):
    """`second_factor` is asked for with the error `second_factor_required`."""

    code: Text = Field(max_length=LONGEST_CODE, repr=False)
    verifier: Verifier = Field(repr=False)
    second_factor: Text | None = Field(default=None, max_length=64, repr=False)


class LinkStart(Body):
    challenge: Challenge
    redirect: Text = Field(max_length=LONGEST_REDIRECT)


class LinkStarted(Answer):
    """Open `url` in a browser."""

    url: str


class IdentityRead(Answer):
    id: str
    provider: str
    issuer: str
    created_at: datetime
