"""One entry of the setting `oidc_providers`: who people may sign in with."""

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class OidcProvider(BaseModel):
    """`issuer` is compared letter by letter with what the provider says of itself."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # holds a secret
    )

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    title: str = Field(min_length=1, max_length=100)
    issuer: str = Field(max_length=255)
    client_id: str = Field(min_length=1, max_length=255)
    client_secret: SecretStr = Field(min_length=1)
    scopes: str = "openid email profile"
    link_verified_email: bool = True
    # The word of the file is a method of every class.
    registers: bool = Field(default=True, alias="register")

    @field_validator("name")
    @classmethod
    def _is_no_method(cls, value: str) -> str:
        if value == "password":
            raise ValueError("sessions opened by password are called so")
        return value

    @field_validator("scopes")
    @classmethod
    def _asks_for_identity(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("must hold openid")
        return value

    @field_validator("issuer")
    @classmethod
    def _cannot_be_listened_to(cls, value: str) -> str:
        if not is_protected(value) or urlsplit(value).query or urlsplit(value).fragment:
            raise ValueError("must be an https address without query (http: this machine only)")
        return value


def is_protected(url: str) -> bool:
    """Whether nobody between here and there can read along: https, or this machine."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return False
    try:
        found = urlsplit(url)
        found.port  # noqa: B018  raises ValueError for a port that is none
    except ValueError:
        return False
    if found.username is not None or not found.hostname:
        return False
    return found.scheme == "https" or (found.scheme == "http" and found.hostname in LOOPBACK)
