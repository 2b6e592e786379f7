"""A second factor that was set up here is asked for also after a sign-in elsewhere."""

from typing import Any

import pyotp
import pytest
from sqlalchemy import select, update

from dormouse_control.identity.models import User, UserSession
from dormouse_control.proofs.attempts import FREE
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD, Account
from fixtures.oidc import Browser, TinyProvider


@pytest.fixture
def secret(ada: Account, platform: Platform, clock: Any) -> str:
    """Ada's address is verified, and she has a second factor with this secret."""
    begun = ada.post("/api/v1/me/second-factor", {"password": PASSWORD}).json()
    code = pyotp.TOTP(begun["secret"]).at(clock.time)
    assert ada.post("/api/v1/me/second-factor/confirm", {"code": code}).status_code == 200
    clock.advance(seconds=60)
    with platform.database.sessions.begin() as session:
        session.execute(update(User).values(email_verified_at=platform.clock()))
    found: str = begun["secret"]
    return found


@pytest.fixture
def login_code(secret: str, ada: Account, browser: Browser, tiny_provider: TinyProvider) -> str:
    assert secret
    back = tiny_provider.consent(browser.begin("tiny"), "ada", email=ada.email)
    return browser.come_back(back)["code"]


def test_a_missing_or_wrong_code_does_not_use_the_login_code_up(
    login_code: str, secret: str, browser: Browser, platform: Platform, clock: Any
) -> None:
    for given in ({}, {"second_factor": "000000"}, {"second_factor": "nonsense"}):
        answer = browser.exchange(login_code, **given)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "second_factor_required"

    code = pyotp.TOTP(secret).at(clock.time)
    assert browser.exchange(login_code, second_factor=code).status_code == 201

    with platform.database.reads() as reading:
        opened = reading.scalars(select(UserSession).where(UserSession.method == "tiny")).one()
    assert opened.second_factor


def test_a_code_of_the_second_factor_works_once(
    login_code: str,
    secret: str,
    ada: Account,
    browser: Browser,
    tiny_provider: TinyProvider,
    clock: Any,
) -> None:
    code = pyotp.TOTP(secret).at(clock.time)
    assert browser.exchange(login_code, second_factor=code).status_code == 201

    back = tiny_provider.consent(browser.begin("tiny"), "ada", email=ada.email)
    again = browser.exchange(browser.come_back(back)["code"], second_factor=code)

    assert again.status_code == 401


def test_codes_cannot_be_guessed_without_end(login_code: str, browser: Browser) -> None:
    answers = [browser.exchange(login_code, second_factor="000000") for _ in range(FREE + 3)]

    assert answers[-1].status_code == 429
    assert answers[-1].json()["error"]["code"] == "too_many_attempts"


def test_a_stranger_without_the_verifier_learns_nothing_of_the_second_factor(
    login_code: str, browser: Browser
) -> None:
    other = "another-secret-that-is-just-as-long-as-ours-is"

    answer = browser.exchange(login_code, other, second_factor="000000")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_token")
