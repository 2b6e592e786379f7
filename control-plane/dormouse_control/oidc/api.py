"""HTTP of sign-ins through OpenID providers, and of the identities linked to an account."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse

from dormouse_control import rules
from dormouse_control.deps import (
    ActorDep,
    CallerDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
    UserAgentDep,
    VisitorDep,
)
from dormouse_control.errors import PlatformError
from dormouse_control.identity.api import LOGINS
from dormouse_control.identity.schemas import Tokens
from dormouse_control.identity.sessions import TokenPair
from dormouse_control.oidc import cookies, exchange, flows, identities, redirects
from dormouse_control.oidc.exchange import Proof
from dormouse_control.oidc.operations import Arrival, Callback
from dormouse_control.oidc.schemas import (
    Challenge,
    IdentityRead,
    LinkStart,
    LinkStarted,
    LoginCode,
    ProviderRead,
)
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.wire import Page
from dormouse_control.wiring import Platform

router = APIRouter(prefix="/api/v1")

Name = Annotated[str, Path(max_length=32, pattern=r"^[a-z0-9-]+$")]
State = Annotated[str, Query(max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
FromProvider = Annotated[str | None, Query(max_length=4096, pattern=r"^[^\x00]*$")]


@router.get("/providers", response_model=Page[ProviderRead], dependencies=[rules.ANYONE])
def list_providers(platform: PlatformDep) -> Page[ProviderRead]:
    """With whom one can sign in, besides e-mail and password."""
    found = platform.providers.all.values()
    return Page(items=[ProviderRead.model_validate(provider) for provider in found])


@router.get("/providers/{name}/authorize", status_code=302, dependencies=[rules.ANYONE])
def authorize(
    name: Name,
    challenge: Annotated[Challenge, Query(description="S256 of a secret that you keep.")],
    redirect: Annotated[str, Query(description="Path here, or http://127.0.0.1:PORT/….")],
    session: SessionDep,
    platform: PlatformDep,
) -> RedirectResponse:
    """For a browser: sign in at the provider, and come back to `redirect` with a login code."""
    redirects.check(redirect)
    platform.providers.find(name).ready()
    state = flows.start(
        session,
        provider=name,
        challenge=challenge,
        redirect=redirect,
        user_id=None,
        sealing=platform.sealing,
        now=platform.clock(),
    )
    return _to_provider(name, state, session, platform)


@router.get("/providers/{name}/link", status_code=302, dependencies=[rules.ANYONE])
def continue_link(
    name: Name, state: State, session: SessionDep, platform: PlatformDep
) -> RedirectResponse:
    """For a browser: go on with a link that `POST /api/v1/me/identities/{provider}` began."""
    platform.providers.find(name).ready()
    return _to_provider(name, state, session, platform)


@router.get("/providers/{name}/callback", status_code=302, dependencies=[rules.ANYONE])
def callback(
    name: Name,
    state: State,
    request: Request,
    platform: PlatformDep,
    visitor: VisitorDep,
    code: FromProvider = None,
    error: FromProvider = None,
    iss: FromProvider = None,
) -> RedirectResponse:
    """Where the provider sends the browser back to."""
    arrival = Arrival(platform, platform.providers.find(name), visitor)
    browser = cookies.given(request, public_url=platform.settings.public_url)
    flow = arrival.claim(state=state, browser=browser)
    try:
        login_code = arrival.finish(flow, Callback(code=code, error=error, issuer=iss))
    except PlatformError as refusal:
        LOGINS.labels(refusal.code).inc()
        return _back(flow, {"error": refusal.code}, platform)
    text = tokens.write(login_code, TokenKind.LOGIN_CODE.value, platform.sealing)
    return _back(flow, {"code": text}, platform)


@router.post("/sessions/code", status_code=201, response_model=Tokens, dependencies=[rules.ANYONE])
def exchange_code(
    body: LoginCode, platform: PlatformDep, visitor: VisitorDep, user_agent: UserAgentDep = None
) -> TokenPair:
    """Sign in with a login code and the secret whose digest began the sign-in."""
    proof = Proof(body.code, body.verifier, body.second_factor)
    try:
        found = exchange.sign_in(platform, proof, visitor=visitor, user_agent=user_agent)
    except PlatformError as error:
        LOGINS.labels(error.code).inc()
        raise
    LOGINS.labels("signed_in").inc()
    return found


@router.get("/me/identities", response_model=Page[IdentityRead], dependencies=[rules.SIGNED_IN])
def list_identities(caller: CallerDep, reading: ReadingDep) -> Page[IdentityRead]:
    """The accounts at providers that open yours."""
    rows = identities.list_identities(reading, user_id=caller.id)
    return Page(items=[IdentityRead.model_validate(row) for row in rows])


@router.post(
    "/me/identities/{provider}",
    status_code=201,
    response_model=LinkStarted,
    dependencies=[rules.SIGNED_IN],
)
def start_link(
    provider: Name,
    body: LinkStart,
    caller: CallerDep,
    session: SessionDep,
    platform: PlatformDep,
) -> LinkStarted:
    """Link an account at a provider to yours; done when its login code is exchanged."""
    found = platform.providers.find(provider)
    state = flows.start(
        session,
        provider=found.config.name,
        challenge=body.challenge,
        redirect=redirects.check(body.redirect),
        user_id=caller.id,
        sealing=platform.sealing,
        now=platform.clock(),
    )
    return LinkStarted(url=f"{found.address}/link?state={quote(state)}")


@router.delete("/me/identities/{id}", status_code=204, dependencies=[rules.SIGNED_IN])
def unlink(
    id: Annotated[str, Path(max_length=100, pattern=r"^\w+$")],
    caller: CallerDep,
    session: SessionDep,
    platform: PlatformDep,
    actor: ActorDep,
) -> None:
    """Forget an account at a provider. The last way to sign in stays."""
    identities.unlink(
        session,
        user_id=caller.id,
        identity_id=id,
        issuers=platform.providers.issuers,
        actor=actor,
        now=platform.clock(),
    )


def _to_provider(
    name: str, state: str, session: SessionDep, platform: Platform
) -> RedirectResponse:
    opened = flows.open_in_browser(
        session, provider=name, state=state, sealing=platform.sealing, now=platform.clock()
    )
    answer = _redirection(platform.providers.find(name).authorization_url(opened))
    cookies.give(answer, opened.browser, public_url=platform.settings.public_url)
    return answer


def _back(flow: flows.Claimed, result: dict[str, str], platform: Platform) -> RedirectResponse:
    answer = _redirection(redirects.with_result(flow.redirect, result))
    cookies.take(answer, public_url=platform.settings.public_url)
    return answer


def _redirection(address: str) -> RedirectResponse:
    headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
    return RedirectResponse(address, status_code=302, headers=headers)
