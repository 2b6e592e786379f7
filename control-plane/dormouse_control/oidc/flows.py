"""Sign-ins under way: a row remembers what the browser must bring back.

Of `state` and of the browser's cookie only digests are stored; the PKCE verifier of the leg to the
provider is sealed.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from dormouse_control.errors import InvalidOneTimeToken
from dormouse_control.oidc.models import OidcFlow
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.sealing import Sealing

LIFE = timedelta(minutes=10)
LOGIN_CODE_LIFE = timedelta(seconds=60)
_KEPT = timedelta(minutes=5)  # longer than a login code lives
_VERIFIER = "oidc verifier"
_NO_BROWSER = ""


@dataclass(frozen=True)
class Opened:
    """What goes to the provider by the browser's address bar, and the cookie's `browser`."""

    state: str
    nonce: str
    challenge: str
    browser: str


@dataclass(frozen=True)
class Claimed:
    """A flow that came back. Its `state` is the digest."""

    state: str
    provider: str
    nonce: str
    verifier: str
    challenge: str
    redirect: str
    user_id: str | None


def start(
    session: Session,
    *,
    provider: str,
    challenge: str,
    redirect: str,
    user_id: str | None,
    sealing: Sealing,
    now: datetime,
) -> str:
    """The new flow's `state`. With `user_id` it ends in a link to that account."""
    session.execute(delete(OidcFlow).where(OidcFlow.expires_at < now - _KEPT))
    state = secrets.token_urlsafe(32)
    flow = OidcFlow(
        state=digest(state),
        provider=provider,
        browser=_NO_BROWSER,
        nonce=secrets.token_urlsafe(32),
        verifier_sealed=sealing.seal(_VERIFIER, secrets.token_urlsafe(32).encode()),
        challenge=challenge,
        redirect=redirect,
        user_id=user_id,
        created_at=now,
        expires_at=now + LIFE,
    )
    session.add(flow)
    session.flush()
    return state


def open_in_browser(
    session: Session, *, provider: str, state: str, sealing: Sealing, now: datetime
) -> Opened:
    """Bind the flow to the one browser that opens it. Raises `InvalidOneTimeToken`."""
    browser = secrets.token_urlsafe(32)
    flow = session.scalar(
        update(OidcFlow)
        .where(
            OidcFlow.state == digest(state),
            OidcFlow.provider == provider,
            OidcFlow.browser == _NO_BROWSER,
            OidcFlow.expires_at > now,
        )
        .values(browser=digest(browser))
        .returning(OidcFlow)
    )
    if flow is None:
        raise _unknown()
    verifier = sealing.unseal(_VERIFIER, flow.verifier_sealed).decode()
    return Opened(state=state, nonce=flow.nonce, challenge=digest(verifier), browser=browser)


def claim(
    session: Session,
    *,
    provider: str,
    state: str,
    browser: str | None,
    sealing: Sealing,
    now: datetime,
) -> Claimed:
    """The flow of this state, browser and provider, once. Raises `InvalidOneTimeToken`."""
    flow = session.scalar(
        update(OidcFlow)
        .where(
            OidcFlow.state == digest(state),
            OidcFlow.browser == digest(browser or ""),
            OidcFlow.provider == provider,
            OidcFlow.used_at.is_(None),
            OidcFlow.expires_at > now,
        )
        .values(used_at=now)
        .returning(OidcFlow)
    )
    if flow is None:
        raise _unknown()
    return Claimed(
        state=flow.state,
        provider=flow.provider,
        nonce=flow.nonce,
        verifier=sealing.unseal(_VERIFIER, flow.verifier_sealed).decode(),
        challenge=flow.challenge,
        redirect=flow.redirect,
        user_id=flow.user_id,
    )


def end(session: Session, flow: Claimed, *, user_id: str, subject: str, now: datetime) -> str:
    """The id of a login code: good only with the secret whose digest began the flow."""
    code = tokens.issue(
        session,
        TokenKind.LOGIN_CODE,
        life=LOGIN_CODE_LIFE,
        now=now,
        user_id=user_id,
        bound=flow.challenge,
    )
    ended = {"login_code": code.id, "subject": subject if flow.user_id is not None else None}
    session.execute(update(OidcFlow).where(OidcFlow.state == flow.state).values(ended))
    return code.id


def digest(text: str) -> str:
    """SHA-256 as base64url without padding: also what S256 of PKCE is (RFC 7636)."""
    found = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def _unknown() -> InvalidOneTimeToken:
    return InvalidOneTimeToken("This sign-in is not known here, was used or has expired.")
