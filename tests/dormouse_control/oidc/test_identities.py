"""Which accounts at providers open which account here: seen, linked by hand, unlinked."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, select

from dormouse_control.audit.models import AuditEntry
from dormouse_control.mail.models import Mail, MailKind
from dormouse_control.oidc.models import OidcIdentity
from dormouse_control.wiring import Platform
from fixtures.control_plane import Account
from fixtures.oidc import Browser, MockProvider, TinyProvider, path_of, query_of, s256

MINE = "the-secret-of-the-one-who-asked-for-this-link"
IDENTITIES = "/api/v1/me/identities"


def start(account: Account, provider: str = "tiny", redirect: str = "/keys") -> Any:
    body = {"challenge": s256(MINE), "redirect": redirect}
    return account.post(f"{IDENTITIES}/{provider}", body)


def open_link(browser: Browser, url: str) -> str:
    answer = browser.get(path_of(url))
    assert answer.status_code == 302, answer.text
    location: str = answer.headers["location"]
    return location


def link(account: Account, browser: Browser, provider: TinyProvider, subject: str) -> Any:
    """All of it; the answer of the exchange."""
    back = provider.consent(open_link(browser, start(account).json()["url"]), subject)
    return browser.exchange(browser.come_back(back)["code"], MINE)


def of(account: Account) -> list[dict[str, Any]]:
    answer = account.get(IDENTITIES)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def signed_in_as(browser: Browser, tokens: Any) -> Account:
    answer = tokens.json()
    return Account(browser.client, "", "", answer["access_token"], answer["refresh_token"])


def test_a_link_by_hand_opens_the_account_from_then_on(
    ada: Account, browser: Browser, tiny_provider: TinyProvider, platform: Platform
) -> None:
    assert link(ada, browser, tiny_provider, "work").status_code == 201

    (identity,) = of(ada)
    assert (identity["provider"], identity["issuer"]) == ("tiny", tiny_provider.issuer)
    there = browser.sign_in("tiny", tiny_provider, "work", email=None, email_verified=None)
    assert signed_in_as(browser, there).get("/api/v1/me").json()["id"] == ada.id
    with platform.database.reads() as reading:
        wanted = select(AuditEntry.details).where(AuditEntry.action == "identity.link")
        assert '"by": "hand"' in reading.scalars(wanted).one()


def test_whoever_has_the_account_is_told_by_mail(
    ada: Account, browser: Browser, tiny_provider: TinyProvider, platform: Platform
) -> None:
    link(ada, browser, tiny_provider, "work")
    ada.delete(f"{IDENTITIES}/{of(ada)[0]['id']}")

    with platform.database.reads() as reading:
        mails = reading.scalars(select(Mail).where(Mail.kind == MailKind.CHANGED)).all()
    told = [(mail.address, mail.about) for mail in mails]
    assert told == [("ada@example.org", "list of sign-in providers")] * 2


def test_linking_twice_changes_nothing(
    ada: Account, browser: Browser, tiny_provider: TinyProvider
) -> None:
    for _ in range(2):
        assert link(ada, browser, tiny_provider, "work").status_code == 201

    assert len(of(ada)) == 1


def test_the_address_of_a_link_opens_in_one_browser_only(ada: Account, browser: Browser) -> None:
    url = start(ada).json()["url"]
    open_link(browser, url)

    assert browser.get(path_of(url)).status_code == 400


def test_a_link_is_not_made_for_who_was_sent_to_it(
    ada: Account, browser: Browser, tiny_provider: TinyProvider
) -> None:
    """Ada sends the address to Bob: his identity must not open her account."""
    back = tiny_provider.consent(open_link(browser, start(ada).json()["url"]), "bob")
    came = browser.come_back(back)

    # Bob's browser has the code, and only Ada the secret.
    assert browser.exchange(came["code"]).status_code == 400
    assert of(ada) == []


def test_an_identity_of_somebody_else_is_not_linked(
    ada: Account, browser: Browser, tiny_provider: TinyProvider
) -> None:
    browser.sign_in("tiny", tiny_provider, "bob")

    back = tiny_provider.consent(open_link(browser, start(ada).json()["url"]), "bob")

    assert browser.come_back(back) == {"error": "already_exists"}


def test_an_identity_that_somebody_else_got_meanwhile_is_not_linked(
    ada: Account, browser: Browser, tiny_provider: TinyProvider
) -> None:
    back = tiny_provider.consent(open_link(browser, start(ada).json()["url"]), "bob")
    code = browser.come_back(back)["code"]
    browser.sign_in("tiny", tiny_provider, "bob")

    answer = browser.exchange(code, MINE)

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_exists")
    assert of(ada) == []


@pytest.mark.parametrize("redirect", ["//evil.example", "javascript:alert(1)"])
def test_a_link_leads_back_only_to_us(ada: Account, redirect: str) -> None:
    answer = start(ada, redirect=redirect)

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "redirect")


def test_a_link_to_no_provider_is_not_found(ada: Account) -> None:
    assert start(ada, provider="none").status_code == 404


def test_the_last_way_to_sign_in_stays(
    browser: Browser, tiny_provider: TinyProvider, mock_provider: MockProvider
) -> None:
    bob = signed_in_as(browser, browser.sign_in("tiny", tiny_provider, "bob"))
    (identity,) = of(bob)
    refused = bob.delete(f"{IDENTITIES}/{identity['id']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")

    mock_provider.person("bob-there")
    url = start(bob, provider="mock").json()["url"]
    came = browser.come_back(mock_provider.consent(open_link(browser, url), "bob-there"))
    assert browser.exchange(came["code"], MINE).status_code == 201

    assert bob.delete(f"{IDENTITIES}/{identity['id']}").status_code == 204
    assert [each["provider"] for each in of(bob)] == ["mock"]


def test_who_has_a_password_may_unlink_all(
    ada: Account, browser: Browser, tiny_provider: TinyProvider
) -> None:
    link(ada, browser, tiny_provider, "work")

    assert ada.delete(f"{IDENTITIES}/{of(ada)[0]['id']}").status_code == 204
    assert of(ada) == []


def test_an_identity_of_a_provider_that_is_gone_is_no_way_to_sign_in(
    browser: Browser, tiny_provider: TinyProvider, platform: Platform
) -> None:
    bob = signed_in_as(browser, browser.sign_in("tiny", tiny_provider, "bob"))
    (identity,) = of(bob)
    with platform.database.sessions.begin() as session:
        row = session.scalars(select(OidcIdentity)).one()
        gone = {"id": "oid_gone", "provider": "gone", "issuer": "https://gone.example"}
        copied = {"user_id": row.user_id, "subject": "x", "created_at": row.created_at}
        session.add(OidcIdentity(**gone, **copied))

    assert bob.delete(f"{IDENTITIES}/{identity['id']}").status_code == 409


def test_of_two_identities_removed_at_once_one_stays(
    browser: Browser, tiny_provider: TinyProvider, at_once: Any
) -> None:
    bob = signed_in_as(browser, browser.sign_in("tiny", tiny_provider, "bob"))
    link(bob, browser, tiny_provider, "bob-too")
    ids = [each["id"] for each in of(bob)]
    assert len(ids) == 2

    answers = at_once(2, lambda: bob.delete(f"{IDENTITIES}/{ids.pop()}").status_code)

    assert sorted(answers) == [204, 409]
    assert len(of(bob)) == 1


def test_an_identity_of_another_is_missing_like_none(
    ada: Account,
    sign_up: Callable[..., Account],
    browser: Browser,
    tiny_provider: TinyProvider,
    platform: Platform,
) -> None:
    link(ada, browser, tiny_provider, "work")
    eve = sign_up("eve@example.org")
    hers = eve.delete(f"{IDENTITIES}/{of(ada)[0]['id']}")
    with platform.database.sessions.begin() as session:
        session.execute(delete(OidcIdentity))
    none = eve.delete(f"{IDENTITIES}/oid_none")

    assert hers.status_code == none.status_code == 404
    assert hers.json() == none.json()


def test_the_provider_sees_nothing_of_the_address_of_a_link(ada: Account, browser: Browser) -> None:
    asked = query_of(open_link(browser, start(ada).json()["url"]))

    assert asked["code_challenge"] != s256(MINE)
    assert asked["redirect_uri"] == "http://127.0.0.1:5000/api/v1/providers/tiny/callback"
