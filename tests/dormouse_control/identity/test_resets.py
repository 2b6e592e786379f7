"""A forgotten password."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update

from dormouse_control.identity.models import User, UserStatus
from dormouse_control.proofs.models import OneTimeToken
from fixtures.accounts import Place, token_in
from fixtures.control_plane import PASSWORD

MakePlace = Callable[..., Place]
NEW = "another battery staple"


def test_a_reset_sets_the_password_and_ends_every_session(place: MakePlace) -> None:
    here = place()
    here.register()
    tokens = here.sign_in().json()
    asked = here.post("resets", email="ADA@example.org")
    assert (asked.status_code, asked.json()) == (202, {})

    done = here.post("resets/confirm", token=here.mailed_token(), password=NEW)

    assert (done.status_code, done.content) == (204, b"")
    assert here.sign_in().status_code == 401
    assert here.sign_in(password=NEW).status_code == 201
    old = {"authorization": f"Bearer {tokens['access_token']}"}
    assert here.client.get("/api/v1/me", headers=old).status_code == 401
    refreshed = here.post("sessions/refresh", refresh_token=tokens["refresh_token"])
    assert refreshed.status_code == 401
    (letter,) = here.mail()
    assert letter.to == "ada@example.org"
    assert "the password of your Dormouse account" in letter.text


def test_a_bad_password_does_not_use_the_token_up(place: MakePlace) -> None:
    here = place()
    here.register()
    here.post("resets", email="ada@example.org")
    token = here.mailed_token()

    for bad in ("short", "ada@example.org"):
        assert here.post("resets/confirm", token=token, password=bad).status_code == 422
    assert here.post("resets/confirm", token=token, password=NEW).status_code == 204


def test_a_reset_lasts_an_hour(place: MakePlace, clock: Any) -> None:
    here = place()
    here.register()
    here.post("resets", email="ada@example.org")
    token = here.mailed_token()
    clock.advance(minutes=60)

    answer = here.post("resets/confirm", token=token, password=NEW)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_token")


def test_a_new_token_ends_the_one_before(place: MakePlace, clock: Any) -> None:
    here = place()
    here.register()
    here.post("resets", email="ada@example.org")
    first = here.mailed_token()
    clock.advance(minutes=1)
    here.post("resets", email="ada@example.org")
    second = here.mailed_token()

    assert here.post("resets/confirm", token=first, password=NEW).status_code == 400
    assert here.post("resets/confirm", token=second, password=NEW).status_code == 204


def test_a_reset_verifies_the_address(place: MakePlace) -> None:
    """Whoever took an address first, its owner gets the account."""
    here = place(verify_email=True)
    here.register()
    here.mail()
    here.post("resets", email="ada@example.org")

    here.post("resets/confirm", token=here.mailed_token(), password=NEW)

    assert here.sign_in(password=NEW).status_code == 201
    assert here.sign_in().status_code == 401
    with here.platform.database.reads() as reading:
        assert reading.scalar(select(User.email_verified_at)) is not None


def test_whoever_took_an_address_first_keeps_no_key_of_it(place: MakePlace, clock: Any) -> None:
    here = place()
    here.register()
    bearer = {"authorization": f"Bearer {here.sign_in().json()['access_token']}"}

    def made_key() -> dict[str, str]:
        made = here.client.post("/api/v1/keys", json={"name": "x"}, headers=bearer).json()
        return {"authorization": f"Bearer {made['key']}"}

    def reset() -> None:
        here.post("resets", email="ada@example.org")
        done = here.post("resets/confirm", token=here.mailed_token(), password=NEW)
        assert done.status_code == 204, done.text

    strangers = made_key()
    reset()
    assert here.client.get("/api/v1/me", headers=strangers).status_code == 401

    bearer = {"authorization": f"Bearer {here.sign_in(password=NEW).json()['access_token']}"}
    owners = made_key()
    clock.advance(minutes=10)
    here.mail()
    reset()
    assert here.client.get("/api/v1/me", headers=owners).status_code == 200


def test_a_reset_does_not_approve(place: MakePlace) -> None:
    here = place(registration="approval")
    here.register()
    here.post("resets", email="ada@example.org")

    here.post("resets/confirm", token=here.mailed_token(), password=NEW)

    assert here.sign_in(password=NEW).status_code != 201


@pytest.mark.parametrize("status", [UserStatus.DISABLED, UserStatus.ERASED])
def test_closed_accounts_get_neither_mail_nor_token(place: MakePlace, status: UserStatus) -> None:
    here = place()
    here.register()
    with here.platform.database.sessions.begin() as session:
        session.execute(update(User).values(status=status))

    assert here.post("resets", email="ada@example.org").status_code == 202

    assert here.mail() == []
    with here.platform.database.reads() as reading:
        assert reading.scalar(select(func.count()).select_from(OneTimeToken)) == 0


def test_a_token_is_worth_nothing_once_its_account_is_disabled(place: MakePlace) -> None:
    here = place()
    here.register()
    here.post("resets", email="ada@example.org")
    token = here.mailed_token()
    with here.platform.database.sessions.begin() as session:
        session.execute(update(User).values(status=UserStatus.DISABLED))

    assert here.post("resets/confirm", token=token, password=NEW).status_code == 400


def test_a_reset_clears_failed_sign_ins(place: MakePlace) -> None:
    here = place()
    here.register()
    for _ in range(12):
        here.sign_in(password="wrong horse battery")
    assert here.sign_in().status_code == 429
    here.post("resets", email="ada@example.org")

    here.post("resets/confirm", token=here.mailed_token(), password=NEW)

    assert here.sign_in(password=NEW).status_code == 201


def test_one_mail_a_minute_and_five_an_hour(place: MakePlace, clock: Any) -> None:
    here = place()
    here.register()
    sent = []
    for _ in range(40):
        for _ in range(2):
            answer = here.post("resets", email="ada@example.org")
            assert (answer.status_code, answer.json()) == (202, {})
        sent.append(len(here.mail()))
        clock.advance(minutes=1)
    clock.advance(minutes=21)
    here.post("resets", email="ada@example.org")

    assert sent == [1] * 5 + [0] * 35
    assert len(here.mail()) == 1


def test_parallel_requests_send_one_mail(
    place: MakePlace, at_once: Callable[..., list[Any]]
) -> None:
    here = place()
    here.register()

    answers = at_once(16, lambda: here.post("resets", email="ada@example.org").status_code)

    assert set(answers) == {202}
    assert [letter.to for letter in here.mail()] == ["ada@example.org"]


def test_the_mail_goes_to_the_canonical_address(place: MakePlace) -> None:
    here = place()
    here.register("strasse@example.org")
    here.post("resets", email="STRAßE@example.org")

    (letter,) = here.mail()

    assert letter.to == "strasse@example.org"
    assert token_in(letter)
    assert PASSWORD not in letter.text
