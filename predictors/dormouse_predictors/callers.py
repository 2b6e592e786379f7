"""Who may call: internal tokens, verified with keys that may be replaced while we run."""

import json
import time
from pathlib import Path

from dormouse.tokens import InternalClaims, PublicKeys, TokenError, read_jwks, verify_internal
from dormouse_predictors.errors import CallError

INTERNAL = "internal-"


class Callers:
    """Reads the JWKS file again when it has changed."""

    def __init__(self, jwks: Path, service: str) -> None:
        self._path = jwks
        self._service = service
        self._changed = -1
        self._keys: PublicKeys = {}

    def verify(self, token: str) -> InternalClaims:
        """Raises `CallError`."""
        try:
            return verify_internal(
                token, service=self._service, keys=self._current(), now=time.time()
            )
        except TokenError as error:
            raise CallError(
                401, "missing_credentials", f"The internal token is not valid: {error}."
            ) from error

    def _current(self) -> PublicKeys:
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._changed:
                found = read_jwks(json.loads(self._path.read_text("utf-8")))
                # The document holds the keys of session tokens too: those prove nothing here.
                self._keys = {kid: key for kid, key in found.items() if kid.startswith(INTERNAL)}
                self._changed = changed
        except (OSError, ValueError, KeyError, TokenError) as error:
            if not self._keys:
                raise TokenError(f"no keys to verify it with ({error})") from error
        return self._keys
