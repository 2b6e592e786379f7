"""What a provider publishes: its discovery document and its keys, fetched when needed and kept."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any  # the documents are JSON
from urllib.parse import urlsplit

import structlog

from dormouse_control.errors import PlatformError, ProviderUnavailable
from dormouse_control.oidc import id_tokens
from dormouse_control.oidc.config import is_protected
from dormouse_control.oidc.fetching import fetch, turn

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]

_KEPT_SECONDS = 3600
_FAILURE_KEPT_SECONDS = 5
_UNKNOWN_KEY_AT_MOST_EVERY_SECONDS = 30


@dataclass(frozen=True)
class Metadata:
    """What we need of the discovery document."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    secret_in_form: bool
    names_itself: bool
    """Whether it sends `iss` with every answer (RFC 9207)."""


class Documents:
    """Of one issuer; thread-safe. One thread fetches, others wait shortly for it."""

    def __init__(self, issuer: str, *, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: Metadata | None = None
        self._metadata_until = 0.0
        self._failed_at: float | None = None
        self._keys: tuple[id_tokens.ProviderKey, ...] | None = None
        self._keys_at = 0.0

    def metadata(self) -> Metadata:
        """Raises `ProviderUnavailable` or `Busy`. An old document is better than none."""
        now = self._clock().timestamp()
        if (known := self._fresh(now)) is not None:
            return known
        with turn(self._lock):
            if (known := self._fresh(now)) is not None:
                return known
            self._refuse_at_once(now)
            try:
                self._metadata, self._metadata_until = self._discovered(), now + _KEPT_SECONDS
            except PlatformError:
                if self._metadata is None:
                    self._failed_at = now
                    raise
                self._metadata_until = now + _FAILURE_KEPT_SECONDS
            return self._metadata

    def keys(self, kid: str | None) -> tuple[id_tokens.ProviderKey, ...]:
        """Asked for again if `kid` is not among them, but not for every invented one."""
        uri = self.metadata().jwks_uri
        with turn(self._lock):
            now = self._clock().timestamp()
            if self._keys is not None:
                known = kid is None or any(key.kid == kid for key in self._keys)
                kept = _KEPT_SECONDS if known else _UNKNOWN_KEY_AT_MOST_EVERY_SECONDS
                if now - self._keys_at <= kept:
                    return self._keys
            self._keys_at = now  # before it is tried: failures count too
            self._keys = id_tokens.read_keys(fetch(uri))
            return self._keys

    def _fresh(self, now: float) -> Metadata | None:
        return self._metadata if now < self._metadata_until else None

    def _refuse_at_once(self, now: float) -> None:
        # Whoever waited for a fetch that failed does not try the same again.
        if self._failed_at is not None and now - self._failed_at < _FAILURE_KEPT_SECONDS:
            raise ProviderUnavailable("The provider does not answer. Try again later.")

    def _discovered(self) -> Metadata:
        found = fetch(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise self._unusable("issuer")
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        userinfo = found.get("userinfo_endpoint")
        return Metadata(
            authorization_endpoint=self._endpoint(found, "authorization_endpoint"),
            token_endpoint=self._endpoint(found, "token_endpoint"),
            jwks_uri=self._endpoint(found, "jwks_uri"),
            userinfo_endpoint=userinfo and self._endpoint(found, "userinfo_endpoint"),
            secret_in_form="client_secret_basic" not in methods,
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )

    def _endpoint(self, found: dict[str, Any], name: str) -> str:
        url = found.get(name)
        if not isinstance(url, str) or not is_protected(url) or urlsplit(url).fragment:
            raise self._unusable(name)
        if self._issuer.startswith("https:") and not url.startswith("https:"):
            raise self._unusable(name)  # an issuer elsewhere must not send us to this machine
        return url

    def _unusable(self, field: str) -> ProviderUnavailable:
        log.error("provider_document_unusable", issuer=self._issuer, field=field)
        return ProviderUnavailable(f"The provider's discovery document has no usable {field}.")
