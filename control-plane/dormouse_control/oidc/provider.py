"""One OpenID provider: where the browser goes to sign in, and who came back."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any  # claims are JSON
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import structlog

from dormouse_control.errors import InvalidValue, NotFound, ProviderRefused
from dormouse_control.identity import emails
from dormouse_control.oidc import id_tokens
from dormouse_control.oidc.config import OidcProvider
from dormouse_control.oidc.documents import Clock, Documents
from dormouse_control.oidc.fetching import fetch
from dormouse_control.oidc.flows import Opened

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Person:
    """Who signed in there. `email` is canonical, `email_verified` the provider's word."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool


class Provider:
    """Thread-safe. Every method may raise `ProviderUnavailable` or `Busy`."""

    def __init__(self, config: OidcProvider, *, public_url: str, clock: Clock) -> None:
        self.config = config
        # From the settings: whatever a request says of our host is not asked.
        self.address = f"{public_url.rstrip('/')}/api/v1/providers/{config.name}"
        self.redirect_uri = f"{self.address}/callback"
        self.name, self.title, self.url = config.name, config.title, f"{self.address}/authorize"
        self._clock = clock
        self._documents = Documents(config.issuer, clock=clock)

    def ready(self) -> None:
        """Fetch what `authorization_url` needs, while no transaction is open."""
        self._documents.metadata()

    def authorization_url(self, opened: Opened) -> str:
        """Where the browser signs in."""
        endpoint = self._documents.metadata().authorization_endpoint
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.config.scopes,
            "state": opened.state,
            "nonce": opened.nonce,
            "code_challenge": opened.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    def check_issuer(self, named: str | None) -> None:
        """That an answer came from here and not from another provider (RFC 9207)."""
        if named is None and not self._documents.metadata().names_itself:
            return
        if named != self.config.issuer:
            raise self._refused("answer of another issuer")

    def person(self, *, code: str, verifier: str, nonce: str) -> Person:
        """Who the provider gave `code` for; it works once. Raises `ProviderRefused` too."""
        answer = self._exchanged(code, verifier)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise self._refused("no ID token")
        try:
            claims = self._verified(token, nonce)
        except id_tokens.IdTokenError as error:
            raise self._refused(f"ID token: {error}") from error
        # Address and the word about it from the same place.
        contact = claims
        if "email" not in claims:
            contact = self._userinfo(answer.get("access_token"), claims["sub"])
        return Person(
            issuer=self.config.issuer,
            subject=claims["sub"],
            email=_email(contact.get("email")),
            email_verified=contact.get("email_verified") is True,
        )

    def _exchanged(self, code: str, verifier: str) -> dict[str, Any]:
        metadata = self._documents.metadata()
        secret = self.config.client_secret.get_secret_value()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        if metadata.secret_in_form:
            form |= {"client_id": self.config.client_id, "client_secret": secret}
            return fetch(metadata.token_endpoint, form=form)
        # Each part is encoded like a form's field before they are joined (RFC 6749, 2.3.1).
        auth = httpx.BasicAuth(quote_plus(self.config.client_id), quote_plus(secret))
        return fetch(metadata.token_endpoint, form=form, auth=auth)

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        keys = self._documents.keys(id_tokens.key_id(token))
        expected = id_tokens.Expected(self.config.issuer, self.config.client_id, nonce)
        now = self._clock().timestamp()
        return id_tokens.verify(token, keys=keys, expected=expected, now=now)

    def _userinfo(self, access_token: object, subject: str) -> dict[str, Any]:
        """Many providers tell the e-mail address only here (OpenID Connect Core, 5.4)."""
        endpoint = self._documents.metadata().userinfo_endpoint
        if endpoint is None or not isinstance(access_token, str):
            return {}
        found = fetch(endpoint, bearer=access_token)
        if found.get("sub") != subject:
            raise self._refused("userinfo of somebody else")
        return found

    def _refused(self, reason: str) -> ProviderRefused:
        log.warning("provider_not_trusted", provider=self.config.name, reason=reason)
        return ProviderRefused("What the provider answered cannot be trusted. Start again.")


class Providers:
    """Those of the settings, in their order."""

    def __init__(self, configs: Iterable[OidcProvider], *, public_url: str, clock: Clock) -> None:
        self.all = {
            config.name: Provider(config, public_url=public_url, clock=clock) for config in configs
        }

    def find(self, name: str) -> Provider:
        """Raises `NotFound`."""
        if name not in self.all:
            raise NotFound("There is no such provider.")
        return self.all[name]

    @property
    def issuers(self) -> frozenset[str]:
        return frozenset(provider.config.issuer for provider in self.all.values())


def _email(claim: object) -> str | None:
    """None too for what folding makes another's: there "groß@x" and "gross@x" are two people."""
    if not isinstance(claim, str):
        return None
    try:
        found = emails.canonical(claim)
    except InvalidValue:
        return None
    local = claim.strip().rpartition("@")[0]
    spelled = local.lower() if local.isascii() else local
    return found if found.rpartition("@")[0] == spelled else None
