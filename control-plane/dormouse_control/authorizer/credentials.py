"""From the authorization header to a question about a principal."""

import hashlib
import re
import time
from collections import OrderedDict
from dataclasses import dataclass

from dormouse.delegation import verify_delegation
from dormouse.tokens import MAX_TOKEN_BYTES, PublicKeys, TokenError, verify_session
from dormouse_control.authorizer.refusals import invalid_credentials, missing_credentials
from dormouse_control.identity.channels import NoCredential, bearer

KEPT = 10_000

_KEY = re.compile(r"dm_[0-9A-Za-z]{43}", re.ASCII)


@dataclass(frozen=True)
class Credential:
    """`cache_key` is unique to the whole credential; `question` goes to the control plane.

    `expires_at`, in seconds since 1970, is what the credential itself says. Of one that is
    `delegated` `address` is where its owner asked from.
    """

    cache_key: str
    question: dict[str, str]
    expires_at: float | None = None
    delegated: bool = False
    address: str | None = None


class Credentials:
    """Reads credentials; a session token's signature is verified once and then remembered.

    `delegating` verify delegations, which are read where the gateway says so and nowhere else;
    without them there are none.
    """

    def __init__(self, keys: PublicKeys, delegating: PublicKeys | None = None) -> None:
        self._keys = keys
        self._delegating: PublicKeys = {} if delegating is None else delegating
        self._verified: OrderedDict[str, tuple[float, Credential]] = OrderedDict()

    def read(self, header: str | None, query: str = "") -> Credential:
        """Raises `Refusal` (401)."""
        try:
            secret = bearer([header] if header is not None else [], query)
        except NoCredential as error:
            raise missing_credentials(str(error)) from None
        if len(secret) > MAX_TOKEN_BYTES:
            raise invalid_credentials()
        digest = hashlib.sha256(secret.encode("latin-1")).hexdigest()
        if secret.startswith("dm_"):
            if not _KEY.fullmatch(secret):
                raise invalid_credentials()
            return Credential(f"key:{digest}", {"kind": "key", "sha256": digest})
        return self._session(secret, digest)

    def read_delegated(self, header: str | None, request: str) -> Credential:
        """Of a call that the control plane makes for a user. Raises `Refusal` (401)."""
        try:
            token = bearer([header] if header is not None else [], "")
            found = verify_delegation(
                token, request=request, keys=self._delegating, now=time.time()
            )
        except NoCredential as error:
            raise missing_credentials(str(error)) from None
        except TokenError as error:
            raise invalid_credentials() from error
        return Credential(
            f"delegated:{found.user}:{found.credential}",
            {"kind": "delegated", "user": found.user, "credential": found.credential},
            delegated=True,
            address=found.address,
        )

    def _session(self, token: str, digest: str) -> Credential:
        now = time.time()
        known = self._verified.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        try:
            claims = verify_session(token, keys=self._keys, now=now)
        except TokenError as error:
            raise invalid_credentials() from error
        found = Credential(
            f"session:{digest}",
            {"kind": "session", "user": claims.user, "session": claims.session},
            expires_at=claims.expires_at,
        )
        self._verified[digest] = (claims.expires_at, found)
        if len(self._verified) > KEPT:
            self._verified.popitem(last=False)
        return found
