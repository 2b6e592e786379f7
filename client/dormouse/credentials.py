"""The credentials file: who is signed in at which server. Readable by its owner only.

`~/.config/dormouse/credentials.json`; `XDG_CONFIG_HOME` and `DORMOUSE_CREDENTIALS` move it.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any  # the file is JSON until it is checked

from dormouse.errors import CredentialsError

if sys.platform != "win32":
    import fcntl


@dataclass(frozen=True)
class TokenPair:
    """A session. `expires_at` is of the access token, in seconds since 1970."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    email: str = ""


def default_path() -> Path:
    if named := os.environ.get("DORMOUSE_CREDENTIALS"):
        return Path(named)
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "dormouse" / "credentials.json"


class CredentialsFile:
    """One server's part of the file."""

    def __init__(self, path: Path, *, server: str) -> None:
        # A link to the file (dotfiles in a repository) stays a link.
        self.path = Path(os.path.realpath(path))
        self._server = server

    def load(self) -> TokenPair | None:
        """Raises `CredentialsError` if the file is there and unreadable."""
        entry = self._servers().get(self._server)
        if entry is None:
            return None
        try:
            tokens = TokenPair(**entry)
        except TypeError as error:
            raise self._broken(error) from error
        if not isinstance(tokens.expires_at, int | float):
            raise self._broken("expires_at is not a number")
        return tokens

    def save(self, tokens: TokenPair) -> None:
        self._write(self._servers() | {self._server: asdict(tokens)})

    def remove(self) -> None:
        servers = self._servers()
        if servers.pop(self._server, None) is not None:
            self._write(servers)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a session is refreshed: a refresh token works once, for one process."""
        self._make_folder()
        try:
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CredentialsError(f"cannot lock {self.path}: {error.strerror}") from error
        try:
            if sys.platform != "win32":
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _servers(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text("utf-8"))["servers"]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CredentialsError(f"cannot read {self.path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._broken(error) from error
        if not isinstance(found, dict):
            raise self._broken("servers is not an object")
        return found

    def _broken(self, reason: object) -> CredentialsError:
        return CredentialsError(f"{self.path} is damaged ({reason}); remove it and sign in again")

    def _write(self, servers: dict[str, Any]) -> None:
        self._make_folder()
        try:
            # mkstemp makes the file 0600; nobody ever sees a half-written or a wider one.
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".credentials-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"servers": servers}, file, indent=2)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self.path)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name)
                raise
        except OSError as error:
            raise CredentialsError(f"cannot write {self.path}: {error.strerror}") from error

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CredentialsError(f"cannot make {self.path.parent}: {error.strerror}") from error
