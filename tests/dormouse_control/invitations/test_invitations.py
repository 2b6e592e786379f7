"""Invitations, as administrators see them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fixtures.accounts import Place, token_in

MakePlace = Callable[..., Place]


def test_an_invitation_is_shown_once_and_listed_without_its_token(place: MakePlace) -> None:
    here = place()
    administrator = here.administrator()
    made = here.invite(administrator, email="Ada@Example.org")
    token = made.pop("token")

    page = administrator.get("/api/v1/invitations").json()

    assert page == {"items": [made], "next": None}
    assert made == {
        "id": made["id"],
        "email": "ada@example.org",
        "mailed": False,
        "tier": "standard",
        "groups": [],
        "created_by": administrator.id,
        "created_at": "2030-01-01T00:00:00Z",
        "expires_at": "2030-01-08T00:00:00Z",
        "used_at": None,
        "used_by": None,
    }
    assert token.startswith(made["id"] + ".")


def test_pages_follow_each_other(place: MakePlace) -> None:
    here = place()
    administrator = here.administrator()
    made = [here.invite(administrator)["id"] for _ in range(3)]

    first = administrator.get("/api/v1/invitations?limit=2").json()
    second = administrator.get(f"/api/v1/invitations?limit=2&after={first['next']}").json()

    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None


def test_a_revoked_invitation_is_worth_nothing(place: MakePlace) -> None:
    here = place(registration="invitation")
    administrator = here.administrator()
    made = here.invite(administrator)

    assert administrator.delete(f"/api/v1/invitations/{made['id']}").status_code == 204

    assert here.register(invitation=made["token"]).status_code == 400
    assert administrator.get("/api/v1/invitations").json()["items"] == []
    assert administrator.delete(f"/api/v1/invitations/{made['id']}").status_code == 404


def test_a_used_invitation_cannot_be_revoked(place: MakePlace) -> None:
    here = place()
    administrator = here.administrator()
    made = here.invite(administrator)
    here.register(invitation=made["token"])

    assert administrator.delete(f"/api/v1/invitations/{made['id']}").status_code == 404


def test_a_mailed_invitation_is_not_shown(place: MakePlace) -> None:
    here = place()
    made = here.invite(here.administrator(), email="ada@example.org", mail=True)

    (letter,) = here.mail()

    assert made["token"] is None
    assert letter.to == "ada@example.org"
    assert here.register(invitation=token_in(letter)).status_code == 201


def test_mail_of_a_revoked_invitation_is_not_sent(place: MakePlace) -> None:
    here = place()
    administrator = here.administrator()
    made = here.invite(administrator, email="ada@example.org", mail=True)
    administrator.delete(f"/api/v1/invitations/{made['id']}")

    assert here.mail() == []


def test_mail_of_an_invitation_that_ended_is_not_sent(place: MakePlace, clock: Any) -> None:
    here = place()
    end = (clock() + timedelta(hours=1)).isoformat()
    here.invite(here.administrator(), email="ada@example.org", mail=True, expires_at=end)
    clock.advance(hours=1)

    assert here.mail() == []


def test_an_invitation_that_ends_while_the_password_is_hashed_is_not_used(
    place: MakePlace, clock: Any
) -> None:
    here = place(registration="invitation")
    token = here.invite(here.administrator())["token"]
    hash = here.platform.passwords.hash

    def slow(password: str) -> str:
        clock.advance(days=7)
        return hash(password)

    here.platform.passwords.hash = slow  # type: ignore[method-assign]

    assert here.register(invitation=token).status_code == 400
    assert here.users() == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"mail": True}, "email"),
        ({"email": "nobody"}, "email"),
        ({"tier": "gold"}, "tier"),
        ({"groups": ["grp_none"]}, "groups"),
        ({"expires_at": "2029-12-31T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2030-04-02T00:00:00Z"}, "expires_at"),
        ({"role": "administrator"}, "role"),
        ({"mailed": True}, "mailed"),
        ({"used_by": None}, "used_by"),
    ],
)
def test_what_cannot_be_is_named(place: MakePlace, body: dict[str, Any], param: str) -> None:
    answer = place().administrator().post("/api/v1/invitations", body)

    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param


def test_only_administrators_invite(place: MakePlace, sign_up: Callable[..., Any]) -> None:
    ada = sign_up()

    assert ada.post("/api/v1/invitations", {}).status_code == 403
    assert ada.get("/api/v1/invitations").status_code == 403
    assert ada.delete("/api/v1/invitations/inv_1").status_code == 403
    assert place().post("invitations").status_code == 401
