"""Who may call: internal tokens, verified with keys that may be replaced while we run."""

import time
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dormouse.keyring import KeyRing
from dormouse.tokens import InternalClaims, TokenError, verify_internal
from dormouse_predictors.errors import CallError

# The document holds the keys of session tokens too: those prove nothing here.
INTERNAL = "internal-"

MOST_KNOWN = 1024


@dataclass(frozen=True)
class _Known:
    claims: InternalClaims
    kid: str
    key: Ed25519PublicKey


class Callers:
    """The gateway sends a token with several calls: its signature is verified once a key."""

    def __init__(self, jwks: Path, service: str) -> None:
        self._service = service
        self._keys = KeyRing(jwks, INTERNAL)
        self._known: dict[str, _Known] = {}

    def verify(self, token: str) -> InternalClaims:
        """Raises `CallError`."""
        now = time.time()
        known = self._known.get(token)
        # A ring that was read anew has other keys, be they the same or not.
        if (
            known is not None
            and now < known.claims.expires_at
            and self._keys.get(known.kid) is known.key
        ):
            return known.claims
        try:
            claims = verify_internal(token, service=self._service, keys=self._keys, now=now)
        except TokenError as error:
            raise CallError(
                401, "missing_credentials", f"The internal token is not valid: {error}."
            ) from error
        self._remember(token, claims)
        return claims

    def _remember(self, token: str, claims: InternalClaims) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        kid = jwt.get_unverified_header(token)["kid"]
        key = self._keys.get(kid)
        if key is not None:
            self._known[token] = _Known(claims, kid, key)
