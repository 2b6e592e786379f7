"""Attacks on sign-ins through OpenID providers."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from dormouse_control.app import public_app
from dormouse_control.identity.models import User
from dormouse_control.oidc.models import OidcFlow, OidcIdentity
from dormouse_control.oidc.provider import Providers
from dormouse_control.settings import Settings
from dormouse_control.wiring import Platform
from fixtures.control_plane import Account
from fixtures.oidc import (
    VERIFIER,
    Browser,
    Signer,
    TinyProvider,
    configured,
    new_signer,
    path_of,
    query_of,
    s256,
    sign_with_secret,
)

TIMES = 16
HOST_HEADERS = {
    "host": "canary.example",
    "x-forwarded-host": "canary.example",
    "x-forwarded-server": "canary.example",
    "x-forwarded-proto": "gopher",
    "x-forwarded-port": "666",
    "x-forwarded-prefix": "/canary",
    "x-original-host": "canary.example",
    "x-original-url": "//canary.example/",
    "x-rewrite-url": "//canary.example/",
    "x-host": "canary.example",
    "forwarded": "host=canary.example;proto=gopher",
    "origin": "https://canary.example",
    "referer": "https://canary.example/",
}


@pytest.fixture
def settings(settings: Settings, tiny_provider: TinyProvider) -> Settings:
    issuer = tiny_provider.issuer
    providers = (configured("tiny", issuer), configured("other", issuer))
    return settings.model_copy(update={"oidc_providers": providers})


@pytest.fixture
def clock(clock: Any) -> Any:
    """Providers live in the present."""
    clock.time = datetime.now(UTC)
    return clock


def test_t25_a_state_works_once_of_16_at_once(
    browser: Browser, tiny_provider: TinyProvider, at_once: Any
) -> None:
    back = tiny_provider.consent(browser.begin("tiny"), "bob")
    cookie = _cookie(browser)

    def one() -> int:
        again = TestClient(browser.client.app, headers={"cookie": cookie})
        status: int = again.get(path_of(back), follow_redirects=False).status_code
        return status

    assert sorted(at_once(TIMES, one)) == [302] + [400] * (TIMES - 1)


def test_t25_a_login_code_works_once_of_16_at_once(
    browser: Browser, tiny_provider: TinyProvider, at_once: Any
) -> None:
    code = browser.come_back(tiny_provider.consent(browser.begin("tiny"), "bob"))["code"]

    answers = at_once(TIMES, lambda: browser.exchange(code).status_code)

    assert sorted(answers) == [201] + [400] * (TIMES - 1)


def test_t32_the_provider_sends_people_back_to_the_configured_address_only(
    browser: Browser, tiny_provider: TinyProvider, ada: Account
) -> None:
    browser.client.headers.update(HOST_HEADERS)

    started = ada.post("/api/v1/me/identities/tiny", {"challenge": s256(VERIFIER), "redirect": "/"})
    assert started.json()["url"].startswith("http://127.0.0.1:5000/api/v1/providers/tiny/link?")

    there = browser.begin("tiny")
    assert query_of(there)["redirect_uri"] == "http://127.0.0.1:5000/api/v1/providers/tiny/callback"
    # The code is redeemed for the same address; the provider compares both.
    answer = browser.get(path_of(tiny_provider.consent(there, "bob")))
    assert answer.headers["location"].startswith("/welcome?code=")
    assert "canary" not in f"{there}{answer.headers}{started.text}"


@pytest.mark.parametrize(
    "redirect",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%5Cevil.example",
        "/%2F/evil.example",
        "/\t//evil.example",
        "javascript:alert(1)",
        "https://evil.example/",
        "http://127.0.0.1:80@evil.example/",
        "http://127.0.0.1.evil.example:80/",
        "http://localhost.evil.example:80/",
    ],
)
def test_t111_a_sign_in_cannot_end_elsewhere(
    redirect: str, browser: Browser, platform: Platform
) -> None:
    query = {"challenge": s256(VERIFIER), "redirect": redirect}

    answer = browser.get("/api/v1/providers/tiny/authorize", params=query)

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "redirect")
    assert "location" not in answer.headers
    assert _count(platform, OidcFlow) == 0


def test_t35_the_cookie_of_a_sign_in_cannot_be_read_stolen_or_planted(
    settings: Settings, tiny_provider: TinyProvider, platform: Platform
) -> None:
    url = "https://dormouse.example"
    there = replace(
        platform,
        settings=settings.model_copy(update={"public_url": url}),
        providers=Providers(settings.oidc_providers, public_url=url, clock=platform.clock),
    )
    browser = Browser(TestClient(public_app(there), base_url=url))

    back = tiny_provider.consent(browser.begin("tiny"), "bob")
    first = browser.client.cookies["__Host-dormouse-flow"]
    given = browser.get("/api/v1/providers/tiny/authorize", params=_query()).headers["set-cookie"]

    assert given.startswith("__Host-dormouse-flow=")
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert attribute in given
    assert "Domain" not in given
    # Each sign-in has a cookie of its own, so the first one began in another browser now.
    assert browser.client.cookies["__Host-dormouse-flow"] != first
    assert browser.get(path_of(back)).status_code == 400


@pytest.mark.parametrize("cookie", [None, "", "dormouse-flow=", "dormouse-flow=x"])
def test_a_state_is_worth_nothing_in_another_browser(
    cookie: str | None, browser: Browser, tiny_provider: TinyProvider
) -> None:
    back = tiny_provider.consent(browser.begin("tiny"), "bob")
    other = TestClient(browser.client.app, headers={"cookie": cookie} if cookie else {})

    refused = other.get(path_of(back), follow_redirects=False)

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_token")
    # And it was not used up by that.
    assert set(browser.come_back(back)) == {"code"}


def test_an_answer_of_one_provider_is_not_taken_at_the_address_of_another(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    back = tiny_provider.consent(browser.begin("tiny"), "bob")

    mixed = browser.get(path_of(back).replace("/tiny/", "/other/"))

    assert mixed.status_code == 400
    assert "/token" not in tiny_provider.asked


def test_who_registered_with_the_address_of_another_does_not_get_their_sign_in(
    ada: Account, browser: Browser, tiny_provider: TinyProvider, platform: Platform
) -> None:
    """Eve registered as ada@example.org, which was never verified; then the real Ada comes."""
    error = browser.refused("tiny", tiny_provider, "the-real-ada", email=ada.email)

    assert error == "link_by_hand"
    assert _count(platform, OidcIdentity) == 0


def test_an_unverified_address_at_the_provider_opens_no_account_here(
    ada: Account, browser: Browser, tiny_provider: TinyProvider, platform: Platform
) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(User).values(email_verified_at=platform.clock()))

    error = browser.refused("tiny", tiny_provider, "eve", email=ada.email, email_verified=False)

    assert error == "email_not_verified"
    assert _count(platform, OidcIdentity) == 0


def test_t02_a_token_signed_with_the_public_key_as_a_secret_is_refused(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.signers = [signer := new_signer()]
    tiny_provider.make_token = lambda claims: _by_public_key(signer, claims)

    assert browser.refused("tiny", tiny_provider, "bob") == "provider_refused"


def test_t04_a_key_signs_by_its_own_algorithm_only(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    tiny_provider.signers = [signer := new_signer("RS256")]
    other = Signer(signer.private, "PS256", signer.kid)
    tiny_provider.make_token = other.sign

    assert browser.refused("tiny", tiny_provider, "bob") == "provider_refused"


@pytest.mark.parametrize(
    "claims",
    [{"aud": "another-client"}, {"aud": ["dormouse", "x"]}, {"iss": "https://evil.example"}],
    ids=["audience", "more audiences", "issuer"],
)
def test_t09_a_token_for_somebody_else_is_refused(
    claims: dict[str, Any], browser: Browser, tiny_provider: TinyProvider
) -> None:
    assert browser.refused("tiny", tiny_provider, "bob", **claims) == "provider_refused"


def test_a_token_of_another_sign_in_is_refused(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    assert browser.refused("tiny", tiny_provider, "bob", nonce="stolen") == "provider_refused"


def test_t10_unknown_keys_cause_one_fetch_in_30_seconds(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    browser.sign_in("tiny", tiny_provider, "bob")

    for _ in range(5):
        tiny_provider.make_token = new_signer("EdDSA").sign
        browser.refused("tiny", tiny_provider, "bob")

    assert tiny_provider.asked.count("/jwks") == 1


def _by_public_key(signer: Signer, claims: dict[str, Any]) -> str:
    public = signer.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return sign_with_secret(claims, pem, signer.kid)


def _query() -> dict[str, str]:
    return {"challenge": s256(VERIFIER), "redirect": "/"}


def _cookie(browser: Browser) -> str:
    return f"dormouse-flow={browser.client.cookies['dormouse-flow']}"


def _count(platform: Platform, table: Any) -> int:
    with platform.database.reads() as reading:
        found: int = reading.scalar(select(func.count()).select_from(table)) or 0
    return found
