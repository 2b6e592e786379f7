"""Who may call: internal tokens, verified with keys that may be replaced while we run."""

import time
from pathlib import Path

from dormouse.keyring import KeyRing
from dormouse.tokens import InternalClaims, TokenError, verify_internal
from dormouse_predictors.errors import CallError

# The document holds the keys of session tokens too: those prove nothing here.
INTERNAL = "internal-"


class Callers:
    def __init__(self, jwks: Path, service: str) -> None:
        self._service = service
        self._keys = KeyRing(jwks, INTERNAL)

    def verify(self, token: str) -> InternalClaims:
        """Raises `CallError`."""
        try:
            return verify_internal(token, service=self._service, keys=self._keys, now=time.time())
        except TokenError as error:
            raise CallError(
                401, "missing_credentials", f"The internal token is not valid: {error}."
            ) from error
