"""Where state lies: `home`, and everything below it. Paths are derived here only."""

import os
from pathlib import Path
from typing import Any  # default factories get what was validated before them

from pydantic import BaseModel, Field, field_validator, model_validator

DEFAULT_HOME = Path("~/.dormouse")

# sun_path of Linux holds 108 bytes, the last of them NUL.
_MAX_SOCKET_PATH = 107


class Places(BaseModel):
    home: Path = Field(
        default=DEFAULT_HOME, description="Folder of all state.", validate_default=True
    )

    @field_validator("home")
    @classmethod
    def _home_is_absolute(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))

    @model_validator(mode="after")
    def _sockets_fit(self) -> "Places":
        longest = max(self.control_plane_socket, self.authorizer_socket, key=lambda p: len(str(p)))
        size = len(os.fsencode(longest))
        if size > _MAX_SOCKET_PATH:
            raise ValueError(
                f"home: {longest} has {size} bytes, but the path of a Unix socket may have"
                f" {_MAX_SOCKET_PATH}; choose a shorter DORMOUSE_HOME"
            )
        return self

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


def home_of(seen: dict[str, Any]) -> Path:
    # Absent only if it was itself invalid; that error is then the one to report.
    home = seen.get("home", DEFAULT_HOME)
    assert isinstance(home, Path)
    return home
