"""What proves who is calling: nothing, an API key, or a session that renews itself."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

from dormouse.credentials import CredentialsFile, TokenPair
from dormouse.errors import AuthenticationError

# Renewed this long before it ends, so that it does not end on its way.
MARGIN_SECONDS = 10


class Credential(Protocol):
    """Both methods may be called from several threads at once."""

    def token(self) -> str | None:
        """What to send as bearer; None sends nothing."""

    def renew(self, refused: str | None) -> bool:
        """The server refused `refused`: whether asking again is worth it, with a new `token()`."""


class Anonymous:
    def token(self) -> str | None:
        return None

    def renew(self, refused: str | None) -> bool:  # noqa: ARG002 - the Protocol's signature
        return False


class ApiKey:
    def __init__(self, key: str) -> None:
        self._key = key

    def token(self) -> str | None:
        return self._key

    def renew(self, refused: str | None) -> bool:  # noqa: ARG002 - the Protocol's signature
        return False


class Session:
    """An access token, exchanged for a new one before it ends.

    One thread exchanges and the others wait for it: a refresh token works once. With a `file`,
    other processes share the session, so the exchange happens under the file's lock, with what the
    file holds then, and the new pair is written back.
    """

    def __init__(
        self,
        tokens: TokenPair | None,
        *,
        refresh: Callable[[TokenPair], TokenPair],
        sign_in: Callable[[], TokenPair] | None = None,
        file: CredentialsFile | None = None,
    ) -> None:
        self._tokens = tokens
        self._refresh = refresh
        self._sign_in = sign_in
        self._file = file
        self._lock = threading.Lock()

    def token(self) -> str | None:
        tokens = self._tokens
        if tokens is None or not _fresh(tokens):
            tokens = self._renewed(tokens)
        return tokens.access_token

    def renew(self, refused: str | None) -> bool:
        tokens = self._tokens
        if tokens is not None and tokens.access_token == refused:
            self._renewed(tokens)
        return True

    @property
    def email(self) -> str:
        return self._tokens.email if self._tokens else ""

    def replace(self, tokens: TokenPair) -> None:
        """Go on with another session of the same user."""
        with self._lock, self._file.lock() if self._file else nullcontext():
            self._tokens = tokens
            if self._file:
                self._file.save(tokens)

    def forget(self) -> None:
        """Remove it from the file, unless that holds somebody else's by now."""
        if self._file is not None:
            with self._file.lock():
                stored = self._file.load()
                if stored is not None and self._tokens and stored.email == self._tokens.email:
                    self._file.remove()

    def _renewed(self, seen: TokenPair | None) -> TokenPair:
        with self._lock:
            if self._tokens is None or self._tokens is seen:
                self._tokens = self._exchanged(seen)
            return self._tokens

    def _exchanged(self, seen: TokenPair | None) -> TokenPair:
        with self._file.lock() if self._file else nullcontext():
            if self._file:
                stored = self._stored(self._file, seen)
                if stored != seen and _fresh(stored):
                    return stored
                seen = stored
            tokens = self._exchange(seen)
            if self._file:
                self._file.save(tokens)
            return tokens

    def _exchange(self, seen: TokenPair | None) -> TokenPair:
        if seen is not None:
            try:
                return self._refresh(seen)
            except AuthenticationError as error:
                if self._sign_in is None:
                    raise _signed_out() from error
        if self._sign_in is None:
            raise _signed_out()
        return self._sign_in()

    def _stored(self, file: CredentialsFile, seen: TokenPair | None) -> TokenPair:
        stored = file.load()
        if stored is None or (seen is not None and stored.email != seen.email):
            # Another process signed out, or in as somebody else: not ours to undo.
            raise _signed_out()
        return stored


def _fresh(tokens: TokenPair) -> bool:
    return tokens.expires_at - time.time() > MARGIN_SECONDS


def _signed_out() -> AuthenticationError:
    body = {"error": {"code": "missing_credentials", "type": "authentication_error"}}
    return AuthenticationError("The session has ended. Sign in again.", status_code=401, body=body)
