"""Sign-ins through an independent provider, from the first click to a session."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from dormouse_control.app import public_app
from dormouse_control.audit.models import AuditEntry
from dormouse_control.identity.models import User, UserSession, UserStatus
from dormouse_control.oidc.models import OidcFlow
from dormouse_control.settings import Settings
from dormouse_control.wiring import Platform
from fixtures.oidc import Browser, MockProvider, TinyProvider, path_of, query_of

ADDRESS = "http://127.0.0.1:5000/api/v1/providers"


def audited(platform: Platform, action: str) -> list[AuditEntry]:
    with platform.database.reads() as reading:
        return list(reading.scalars(select(AuditEntry).where(AuditEntry.action == action)))


def me(client: Any, tokens: dict[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    answer = client.get("/api/v1/me", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_providers_are_listed_without_their_secrets(client: Any) -> None:
    answer = client.get("/api/v1/providers")

    assert answer.json()["items"] == [
        {"name": name, "title": title, "url": f"{ADDRESS}/{name}/authorize"}
        for name, title in (("mock", "Mock"), ("tiny", "Tiny"))
    ]


def test_who_is_new_gets_an_account_with_a_verified_address(
    browser: Browser, platform: Platform, mock_provider: MockProvider
) -> None:
    mock_provider.person("new-1", email="New@Example.org", email_verified=True)

    signed_in = browser.sign_in("mock", mock_provider, "new-1")

    assert signed_in.status_code == 201, signed_in.text
    account = me(browser.client, signed_in.json())
    assert (account["email"], account["status"]) == ("new@example.org", "active")
    with platform.database.reads() as reading:
        user = reading.get_one(User, account["id"])
        session = reading.scalars(select(UserSession)).one()
    assert user.password_hash is None
    assert user.email_verified_at is not None
    assert (session.method, session.second_factor) == ("mock", False)
    assert len(audited(platform, "user.register")) == len(audited(platform, "identity.link")) == 1


def test_who_comes_again_gets_the_same_account_whatever_the_address_there_is_now(
    browser: Browser, mock_provider: MockProvider
) -> None:
    mock_provider.person("again-1", email="again@example.org", email_verified=True)
    first = me(browser.client, browser.sign_in("mock", mock_provider, "again-1").json())

    mock_provider.person("again-1", email="married@example.org", email_verified=False)
    second = me(browser.client, browser.sign_in("mock", mock_provider, "again-1").json())

    assert second["id"] == first["id"]
    assert second["email"] == "again@example.org"


def test_the_same_subject_at_two_providers_is_two_people(
    browser: Browser, mock_provider: MockProvider, tiny_provider: TinyProvider
) -> None:
    mock_provider.person("same", email="one@example.org", email_verified=True)

    one = browser.sign_in("mock", mock_provider, "same")
    two = browser.sign_in("tiny", tiny_provider, "same", email="two@example.org")

    assert me(browser.client, one.json())["email"] == "one@example.org"
    assert me(browser.client, two.json())["email"] == "two@example.org"


def test_an_account_whose_address_was_verified_here_is_linked(
    browser: Browser, platform: Platform, tiny_provider: TinyProvider, ada: Any
) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(User).values(email_verified_at=platform.clock()))

    signed_in = browser.sign_in("tiny", tiny_provider, "ada", email="ADA@example.org")

    assert me(browser.client, signed_in.json())["id"] == ada.id
    (entry,) = audited(platform, "identity.link")
    assert '"by": "email"' in entry.details
    assert "example.org" not in entry.details


def test_an_account_whose_address_was_never_verified_here_is_not_linked(
    browser: Browser, platform: Platform, tiny_provider: TinyProvider, ada: Any
) -> None:
    assert browser.refused("tiny", tiny_provider, "ada", email=ada.email) == "link_by_hand"

    (entry,) = audited(platform, "session.refuse")
    assert entry.subject == ada.id
    assert entry.outcome == "refused"


@pytest.mark.parametrize("spelling", ["\uff41da@x.org", "\ufb01da@x.org", "\u212aim@x.org"])
def test_a_spelling_that_is_another_address_elsewhere_is_nobody_here(
    browser: Browser, platform: Platform, tiny_provider: TinyProvider, spelling: str
) -> None:
    assert browser.refused("tiny", tiny_provider, "eve", email=spelling) == "email_not_verified"
    with platform.database.reads() as reading:
        assert reading.scalars(select(User)).all() == []


def test_an_address_with_other_letters_is_somebody(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    signed_in = browser.sign_in("tiny", tiny_provider, "jo", email="j\u00f6@B\u00fccher.example")

    assert me(browser.client, signed_in.json())["email"] == "j\u00f6@xn--bcher-kva.example"


def test_an_address_that_the_provider_did_not_verify_gives_no_account(
    browser: Browser, platform: Platform, tiny_provider: TinyProvider
) -> None:
    for claim in (False, None, "true", 1):
        error = browser.refused("tiny", tiny_provider, "new", email_verified=claim)
        assert error == "email_not_verified"
    assert browser.refused("tiny", tiny_provider, "new", email=None) == "email_not_verified"
    with platform.database.reads() as reading:
        assert reading.scalars(select(User)).all() == []


def test_who_was_disabled_cannot_come_back_through_a_provider(
    browser: Browser, platform: Platform, tiny_provider: TinyProvider
) -> None:
    browser.sign_in("tiny", tiny_provider, "bob")
    _set_status(platform, UserStatus.DISABLED)

    assert browser.refused("tiny", tiny_provider, "bob") == "account_not_active"


def test_who_is_disabled_between_callback_and_exchange_gets_no_session(
    browser: Browser, platform: Platform, tiny_provider: TinyProvider
) -> None:
    browser.sign_in("tiny", tiny_provider, "bob")
    came = browser.come_back(tiny_provider.consent(browser.begin("tiny"), "bob"))
    _set_status(platform, UserStatus.DISABLED)

    answer = browser.exchange(came["code"])

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "account_not_active"


def test_a_code_is_worth_nothing_without_its_verifier_or_after_a_minute(
    browser: Browser, tiny_provider: TinyProvider, clock: Any
) -> None:
    came = browser.come_back(tiny_provider.consent(browser.begin("tiny"), "bob"))

    wrong = browser.exchange(came["code"], "another-secret-that-is-just-as-long-as-ours-is")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_token")
    clock.advance(seconds=61)
    late = browser.exchange(came["code"])
    assert late.json() == wrong.json()


def test_a_sign_in_that_took_too_long_begins_again(
    browser: Browser, tiny_provider: TinyProvider, clock: Any
) -> None:
    back = tiny_provider.consent(browser.begin("tiny"), "bob")
    clock.advance(minutes=10)

    answer = browser.get(back.removeprefix("http://127.0.0.1:5000"))

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_token")


def test_who_changes_their_mind_at_the_provider_is_told_kindly(
    browser: Browser, mock_provider: MockProvider
) -> None:
    # oidc-provider-mock forgets the state when it denies.
    url = browser.begin("mock")
    back = f"{mock_provider.deny(url)}&state={query_of(url)['state']}"

    assert browser.come_back(back) == {"error": "provider_refused"}


def test_a_result_joins_what_the_redirect_had_in_its_query(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    url = browser.begin("tiny", redirect="/welcome?next=a%26b&code=mine&empty=")

    came = browser.get(path_of(tiny_provider.consent(url, "bob"))).headers["location"]

    assert came.startswith("/welcome?")
    assert set(query_of(came)) == {"next", "code"}
    assert came.count("code=") == 1
    assert query_of(came)["code"].startswith("ott_")
    assert query_of(came)["next"] == "a&b"


def test_answers_that_carry_a_code_are_kept_nowhere(
    browser: Browser, tiny_provider: TinyProvider
) -> None:
    answer = browser.get(path_of(tiny_provider.consent(browser.begin("tiny"), "bob")))

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "dormouse-flow=" in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]


def test_old_flows_are_removed_by_new_ones(
    browser: Browser, platform: Platform, clock: Any
) -> None:
    browser.begin("tiny")
    clock.advance(hours=2)
    browser.begin("tiny")

    with platform.database.reads() as reading:
        assert len(reading.scalars(select(OidcFlow)).all()) == 1


@pytest.mark.parametrize(
    ("mode", "error"), [("approval", "account_not_active"), ("invitation", "invitation_required")]
)
def test_registration_keeps_to_the_mode_of_the_platform(
    mode: str, error: str, settings: Settings, tiny_provider: TinyProvider, platform: Platform
) -> None:
    there = replace(platform, settings=settings.model_copy(update={"registration": mode}))
    browser = Browser(TestClient(public_app(there)))

    for _ in range(2):
        assert browser.refused("tiny", tiny_provider, "new") == error

    with platform.database.reads() as reading:
        found = [user.status for user in reading.scalars(select(User))]
    assert found == ([UserStatus.PENDING] if mode == "approval" else [])


def test_who_was_invited_by_address_comes_in_through_a_provider(
    settings: Settings,
    tiny_provider: TinyProvider,
    platform: Platform,
    administrator: Any,
    at_once: Any,
) -> None:
    """With the tier and groups of the invitation, and once."""
    group = administrator.post("/api/v1/groups", {"name": "readers"}).json()["id"]
    wanted = {"email": "new@example.org", "groups": [group]}
    invitation = administrator.post("/api/v1/invitations", wanted).json()
    there = replace(platform, settings=settings.model_copy(update={"registration": "invitation"}))
    app = public_app(there)

    def one() -> str:
        browser = Browser(TestClient(app))
        signed_in = browser.sign_in("tiny", tiny_provider, "new", email="new@example.org")
        return str(me(browser.client, signed_in.json())["id"])

    (new,) = set(at_once(4, one))

    (used,) = administrator.get("/api/v1/invitations").json()["items"]
    assert (used["id"], used["used_by"]) == (invitation["id"], new)
    members = administrator.get(f"/api/v1/groups/{group}/members").json()["items"]
    assert [each["user"] for each in members] == [new]
    other = Browser(TestClient(app))
    refused = other.refused("tiny", tiny_provider, "eve", email="eve@example.org")
    assert refused == "invitation_required"


def test_sign_ins_of_one_new_person_at_once_make_one_account(
    client: TestClient, platform: Platform, tiny_provider: TinyProvider, at_once: Any
) -> None:
    app = client.app

    def one() -> str:
        browser = Browser(TestClient(app))
        return me(client, browser.sign_in("tiny", tiny_provider, "new").json())["id"]

    found = at_once(4, one)

    assert len(set(found)) == 1
    assert len(audited(platform, "user.register")) == 1


def _set_status(platform: Platform, status: UserStatus) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(User).values(status=status))
