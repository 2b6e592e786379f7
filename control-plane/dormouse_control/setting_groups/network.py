"""How the platform is reached: addresses, names, TLS."""

import os
from pathlib import Path
from typing import Annotated, Any  # default factories get what was validated before them

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from dormouse_control.gateway.hosts import is_loopback
from dormouse_control.gateway.tls import CERTIFICATE, KEY
from dormouse_control.setting_groups.lists import words

HostName = Annotated[
    str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])$")
]


class Network(BaseModel):
    host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    port: int = Field(default=5000, ge=1, le=65535, description="Port that the gateway listens on.")
    trusted_hops: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Proxies of yours in front of the gateway: so many addresses at the end of"
        " X-Forwarded-For are believed.",
    )
    tls: str = Field(
        default="off",
        description="`off`; `self-signed`: TLS with a certificate that is made in `home`; or a"
        " folder with `tls.crt` and `tls.key`, which are read again when they are replaced.",
    )
    public_url: str = Field(
        default_factory=lambda seen: f"{_scheme(seen)}://127.0.0.1:{seen.get('port', 5000)}",
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="Where callers find the gateway; default: this machine and `port`.",
    )
    allowed_hosts: Annotated[tuple[HostName, ...], NoDecode] = Field(
        default=(),
        description="Further names under which the gateway answers, with commas between them. It"
        " answers under those of this machine and of `public_url`; on a public address under every"
        " name, unless some are given here.",
    )
    allow_plain_http: bool = Field(
        default=False,
        description="Listen on a public address although `public_url` is not https.",
    )

    _split_hosts = field_validator("allowed_hosts", mode="before")(words)

    @field_validator("tls")
    @classmethod
    def _certificate_and_key(cls, value: str) -> str:
        if value in ("off", "self-signed"):
            return value
        folder = Path(os.path.abspath(Path(value).expanduser()))
        for name in (CERTIFICATE, KEY):
            if not os.access(folder / name, os.R_OK):
                raise ValueError(
                    f"must be off, self-signed, or a folder; there is no readable {folder / name}"
                )
        return str(folder)

    @model_validator(mode="after")
    def _passwords_travel_safely(self) -> "Network":
        secure = self.public_url.startswith("https://")
        if self.tls != "off" and not secure:
            raise ValueError("public_url: must begin with https:// where tls is not off")
        if not (secure or is_loopback(self.host) or self.allow_plain_http):
            raise ValueError(
                f"host: {self.host} is not this machine's alone, and over plain HTTP everybody on"
                " the way can read passwords; set tls, or put TLS before the gateway and set"
                " public_url to its https address, or set allow_plain_http to true"
            )
        return self


def _scheme(seen: dict[str, Any]) -> str:
    return "http" if seen.get("tls", "off") == "off" else "https"
