"""Every setting of the platform: file `$DORMOUSE_HOME/dormouse.yaml`, overridden by `DORMOUSE_*`.

All processes of a machine read the same settings. Paths below `home` are derived here only.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal  # default factories get what was validated before them
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from dormouse_control.gateway.hosts import is_loopback
from dormouse_control.gateway.tls import CERTIFICATE, KEY
from dormouse_control.oidc.config import OidcProvider, is_protected
from dormouse_control.webhooks.addresses import Allowed

DEFAULT_HOME = Path("~/.dormouse")
LogLevel = Literal["debug", "info", "warning", "error"]
HostName = Annotated[
    str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])$")
]

# sun_path of Linux holds 108 bytes, the last of them NUL.
_MAX_SOCKET_PATH = 107


# The supervisor's word to a process, and what only the client library reads.
_NOT_SETTINGS = {
    "DORMOUSE_PROCESS_METRICS_PORT",
    "DORMOUSE_API_KEY",
    "DORMOUSE_BASE_URL",
    "DORMOUSE_CREDENTIALS",
}


class Settings(BaseSettings):
    """Frozen. Raises pydantic's ValidationError naming the field that is wrong."""

    model_config = SettingsConfigDict(
        env_prefix="DORMOUSE_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # a database URL may hold a password
    )

    home: Path = Field(
        default=DEFAULT_HOME, description="Folder of all state.", validate_default=True
    )
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
    database_url: str = Field(
        default_factory=lambda seen: f"sqlite:///{_home(seen) / 'dormouse.db'}",
        description="sqlite:///… or postgresql://…; default: a SQLite file in `home`.",
        repr=False,  # may hold a password
    )
    services: Path = Field(
        default=Path(__file__).parents[2] / "services", description="Folder of the catalogue."
    )
    profile: Literal["starter", "standard"] = Field(
        default="starter", description="Which models are offered: the tiny ones, or all."
    )
    weights: Path = Field(
        default_factory=lambda seen: _home(seen) / "weights",
        description="Folder of downloaded weights; default: in `home`.",
    )
    idle_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Sleep after this long without a call; overrides every service's.",
    )
    metrics_port: int = Field(
        default=5001,
        ge=0,
        le=65535 - 4,
        description="Loopback port of the control plane's metrics; authorizer, nest, gateway"
        " and supervisor follow it. 0: any free ports.",
    )
    requests_per_minute: int = Field(
        default=600, ge=1, description="Inference calls that a user may make."
    )
    tokens_per_minute: int = Field(
        default=10_000_000,
        ge=1,
        le=1_000_000_000,
        description="Tokens, of prompts and answers together, that a user may use.",
    )
    concurrent_calls: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Calls of a user that may run or wait at the same time.",
    )
    queued_calls: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Calls of a user that may wait for one service; default: as many as may wait"
        " for it at all.",
    )
    ageing_seconds: float = Field(
        default=30,
        gt=0,
        description="A call that has waited for so long counts as one priority more urgent, so that"
        " none waits for ever.",
    )
    max_body_mb: int = Field(default=32, ge=1, le=1024, description="Longest request body, in MiB.")
    gateway_memory_mb: int = Field(
        default=1024,
        ge=128,
        description="Memory that the gateway may take for bodies and answers on their way, in MiB."
        " Near it the longest are given up, so that the others go on.",
    )
    predictor_user: str = Field(
        default="auto",
        pattern=r"^(auto|platform|[1-9][0-9]{2,8})$",
        description="Users of predictors where the platform runs as root. `auto`: of their own"
        " where that works; a number: of their own, their group has it and users follow it, or"
        " nothing starts; `platform`: root. See `docs/isolation.md`.",
    )
    predictor_cgroup: str = Field(
        default="auto",
        pattern=r"^(auto|off|/\S+)$",
        description="Where predictors get control groups (v2) that limit them. `auto`: below the"
        " platform's own, if nothing else runs in it; a folder that the platform may write to; or"
        " `off`.",
    )
    async_requests: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Asynchronous requests of a user that may wait or run at the same time; ten"
        " times as many are kept, with those that have ended.",
    )
    async_stored_mb: int = Field(
        default=256,
        ge=1,
        description="Bodies and results of a user's asynchronous requests that are kept, in MiB.",
    )
    async_running: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Asynchronous requests of all users that the control plane performs at once.",
    )
    async_deadline_seconds: int = Field(
        default=3600,
        ge=1,
        le=86_400,
        description="An asynchronous request that could not begin for so long has expired.",
    )
    async_kept_hours: int = Field(
        default=24,
        ge=1,
        le=720,
        description="So long after its end an asynchronous request is erased, if its webhook is not"
        " tried any more.",
    )
    reserved_disk_mb: int = Field(
        default=256,
        ge=0,
        description="With less space left for `home` no asynchronous requests are taken, in MiB.",
    )
    webhook_allowed: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names of hosts and networks, with commas between them, that webhooks may reach"
        " although they are not public, or by plain http.",
    )
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
    log_level: LogLevel = Field(default="info", description="Least important level that is logged.")

    @field_validator("allowed_hosts", "webhook_allowed", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("webhook_allowed")
    @classmethod
    def _names_or_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Allowed.of(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return value

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

    @field_validator("home", "services", "weights")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))

    @model_validator(mode="after")
    def _passwords_travel_safely(self) -> "Settings":
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

    @model_validator(mode="after")
    def _browsers_come_back_safely(self) -> "Settings":
        if self.oidc_providers and not is_protected(self.public_url):
            raise ValueError("oidc_providers: public_url must be https, or on this machine")
        return self

    @model_validator(mode="after")
    def _sockets_fit(self) -> "Settings":
        longest = max(self.control_plane_socket, self.authorizer_socket, key=lambda p: len(str(p)))
        size = len(os.fsencode(longest))
        if size > _MAX_SOCKET_PATH:
            raise ValueError(
                f"home: {longest} has {size} bytes, but the path of a Unix socket may have"
                f" {_MAX_SOCKET_PATH}; choose a shorter DORMOUSE_HOME"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  not ours
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  not ours
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = init_settings().get("home") or env_settings().get("home") or DEFAULT_HOME
        file = Path(home).expanduser() / "dormouse.yaml"
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=file)

    @classmethod
    def unknown_names(cls, environment: Iterable[str]) -> list[str]:
        """Variables that look like settings and are none: a misspelt one must not pass unseen."""
        known = {f"DORMOUSE_{name.upper()}" for name in cls.model_fields} | _NOT_SETTINGS
        return sorted(n for n in environment if n.startswith("DORMOUSE_") and n not in known)

    @property
    def run_folder(self) -> Path:
        return self.home / "run"

    @property
    def control_plane_socket(self) -> Path:
        return self.run_folder / "control-plane.sock"

    @property
    def internal_socket(self) -> Path:
        return self.run_folder / "internal.sock"

    @property
    def admin_socket(self) -> Path:
        return self.run_folder / "admin.sock"

    @property
    def first_administrator_file(self) -> Path:
        return self.home / "first-administrator"

    @property
    def tls_folder(self) -> Path | None:
        """Where `tls.crt` and `tls.key` are; None without TLS."""
        if self.tls == "off":
            return None
        return self.home / "tls" if self.tls == "self-signed" else Path(self.tls)

    @property
    def cold_starts_file(self) -> Path:
        return self.home / "cold-starts.json"

    @property
    def calls_socket(self) -> Path:
        """Where the gateway takes the calls that users left with the control plane."""
        return self.run_folder / "calls.sock"

    @property
    def decisions_file(self) -> Path:
        return self.run_folder / "decisions"

    @property
    def meters_socket(self) -> Path:
        return self.run_folder / "meters.sock"

    @property
    def authorizer_socket(self) -> Path:
        return self.run_folder / "authorizer.sock"

    @property
    def nest_socket(self) -> Path:
        return self.run_folder / "nest.sock"

    @property
    def processes_file(self) -> Path:
        return self.run_folder / "processes.json"

    @property
    def keys_folder(self) -> Path:
        return self.home / "keys"

    @property
    def spool_folder(self) -> Path:
        return self.home / "spool"

    def process_metrics_port(self, offset: int) -> int:
        """The loopback port of the process that is `offset`th; 0 means any free one.

        The supervisor may have chosen another for this process, by environment.
        """
        chosen = os.environ.get("DORMOUSE_PROCESS_METRICS_PORT")
        return int(chosen) if chosen else self.metrics_port and self.metrics_port + offset


def _home(seen: dict[str, Any]) -> Path:
    # Absent only if it was itself invalid; that error is then the one to report.
    home = seen.get("home", DEFAULT_HOME)
    assert isinstance(home, Path)
    return home


def _scheme(seen: dict[str, Any]) -> str:
    return "http" if seen.get("tls", "off") == "off" else "https"
