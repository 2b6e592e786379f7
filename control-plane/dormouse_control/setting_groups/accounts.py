"""Accounts: sessions, passwords, who may register, mail, OpenID providers, the currency."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from dormouse_control.oidc.config import OidcProvider


class Accounts(BaseModel):
    currency: str = Field(
        default="USD", pattern=r"^[A-Z]{3}$", description="Currency of all prices."
    )
    access_token_seconds: int = Field(
        default=600, ge=1, le=3600, description="Life of an access token."
    )
    refresh_token_days: int = Field(
        default=30, ge=1, le=365, description="Longest life of a session."
    )
    session_idle_days: int = Field(
        default=14, ge=1, le=365, description="A session not refreshed for so long ends."
    )
    signing_key_days: int = Field(
        default=90, ge=1, le=3650, description="Signing keys are replaced when they are so old."
    )
    password_min_length: int = Field(
        default=15,
        ge=15,
        le=128,
        description="Fewest characters of a password that is the only factor (with a second: 8).",
    )
    registration: Literal["open", "approval", "invitation"] = Field(
        default="open",
        description="Who may register: anybody; anybody, to be approved by an administrator;"
        " or who was invited.",
    )
    verify_email: bool = Field(
        default=False,
        description="Accounts begin when a link sent to their address was opened.",
    )
    administrators_need_second_factor: bool = Field(
        default=False,
        description="Operators and administrators may act only after signing in with a code.",
    )
    smtp_url: str | None = Field(
        default=None,
        pattern=r"^(smtps?|smtp\+starttls)://",
        repr=False,  # may hold a password
        description="smtp://, smtp+starttls:// or smtps://[USER:PASSWORD@]HOST[:PORT]; without it"
        " mail is written to `logs/mail.log` in `home`.",
    )
    mail_from: str = Field(default="dormouse@localhost", description="Sender of mail.")
    oidc_providers: tuple[OidcProvider, ...] = Field(
        default=(),
        description="OpenID providers to sign in with, a list of {name, title, issuer, client_id,"
        " client_secret, scopes, link_verified_email, register}; see `docs/oidc.md`.",
    )

    @field_validator("oidc_providers")
    @classmethod
    def _named_once(cls, value: tuple[OidcProvider, ...]) -> tuple[OidcProvider, ...]:
        if len({provider.name for provider in value}) != len(value):
            raise ValueError("two providers have the same name")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _usable_mail_server(cls, value: str | None) -> str | None:
        server = urlsplit(value or "smtp://none")
        if not server.hostname or server.port == 0:  # `port` raises ValueError for what is none
            raise ValueError("names no host, or no port")
        if server.username and server.scheme == "smtp":
            raise ValueError("a password needs smtps:// or smtp+starttls://")
        return value
