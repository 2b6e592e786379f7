"""Every setting of the platform: file `$DORMOUSE_HOME/dormouse.yaml`, overridden by `DORMOUSE_*`.

All processes of a machine read the same settings. They are written down in `setting_groups/`.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from dormouse_control.oidc.config import is_protected
from dormouse_control.setting_groups.accounts import Accounts
from dormouse_control.setting_groups.limits import Limits
from dormouse_control.setting_groups.network import Network
from dormouse_control.setting_groups.places import DEFAULT_HOME, Places
from dormouse_control.setting_groups.requests import Requests
from dormouse_control.setting_groups.services import Services

LogLevel = Literal["debug", "info", "warning", "error"]

# The supervisor's word to a process, and what only the client library reads.
_NOT_SETTINGS = {
    "DORMOUSE_PROCESS_METRICS_PORT",
    "DORMOUSE_API_KEY",
    "DORMOUSE_BASE_URL",
    "DORMOUSE_CREDENTIALS",
}


# The last base's fields come first: defaults are made of those before them.
class Settings(Accounts, Requests, Limits, Services, Network, Places, BaseSettings):
    """Frozen. Raises pydantic's ValidationError naming the field that is wrong."""

    model_config = SettingsConfigDict(
        env_prefix="DORMOUSE_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # a database URL may hold a password
    )

    log_level: LogLevel = Field(default="info", description="Least important level that is logged.")

    @model_validator(mode="after")
    def _browsers_come_back_safely(self) -> "Settings":
        if self.oidc_providers and not is_protected(self.public_url):
            raise ValueError("oidc_providers: public_url must be https, or on this machine")
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
    def tls_folder(self) -> Path | None:
        """Where `tls.crt` and `tls.key` are; None without TLS."""
        if self.tls == "off":
            return None
        return self.home / "tls" if self.tls == "self-signed" else Path(self.tls)

    def process_metrics_port(self, offset: int) -> int:
        """The loopback port of the process that is `offset`th; 0 means any free one.

        The supervisor may have chosen another for this process, by environment.
        """
        chosen = os.environ.get("DORMOUSE_PROCESS_METRICS_PORT")
        return int(chosen) if chosen else self.metrics_port and self.metrics_port + offset
