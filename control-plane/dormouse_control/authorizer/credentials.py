"""From the authorization header to a question about a principal."""

import hashlib
import re
import time
from collections import OrderedDict
from dataclasses import dataclass

from dormouse.tokens import SESSION_AUDIENCE, SESSION_TYPE, PublicKeys, TokenError, decode
from dormouse_control.authorizer.refusals import invalid_credentials, missing_credentials

KEPT = 10_000

_KEY = re.compile(r"dm_[0-9A-Za-z]{43}", re.ASCII)


@dataclass(frozen=True)
class Credential:
    """`cache_key` is unique to the whole credential; `question` goes to the control plane."""

    cache_key: str
    question: dict[str, str]


class Credentials:
    """Reads credentials; a session token's signature is verified once and then remembered."""

    def __init__(self, keys: PublicKeys) -> None:
        self._keys = keys
        self._verified: OrderedDict[str, tuple[float, Credential]] = OrderedDict()

    def read(self, header: str | None) -> Credential:
        """Raises `Refusal` (401)."""
        if not header:
            raise missing_credentials()
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise missing_credentials()
        digest = hashlib.sha256(secret.encode("latin-1")).hexdigest()
        if secret.startswith("dm_"):
            if not _KEY.fullmatch(secret):
                raise invalid_credentials()
            return Credential(f"key:{digest}", {"kind": "key", "sha256": digest})
        return self._session(secret, digest)

    def _session(self, token: str, digest: str) -> Credential:
        now = time.time()
        known = self._verified.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        try:
            claims = decode(
                token, typ=SESSION_TYPE, audience=SESSION_AUDIENCE, keys=self._keys, now=now
            )
        except TokenError as error:
            raise invalid_credentials() from error
        session = claims.get("sid")
        if not isinstance(session, str):
            raise invalid_credentials()
        found = Credential(
            f"session:{session}",
            {"kind": "session", "user": claims["sub"], "session": session},
        )
        self._verified[digest] = (claims["exp"], found)
        if len(self._verified) > KEPT:
            self._verified.popitem(last=False)
        return found
