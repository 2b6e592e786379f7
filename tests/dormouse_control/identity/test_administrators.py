"""The first administrator, and those whom the owner of the machine makes."""

import json
import stat
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from dormouse_control.audit.models import AuditEntry
from dormouse_control.identity import administrators
from fixtures.accounts import Place
from fixtures.control_plane import PASSWORD

MakePlace = Callable[..., Place]


def test_the_token_in_the_file_makes_the_first_administrator(place: MakePlace) -> None:
    here = place()
    file = here.platform.settings.first_administrator_file
    administrators.announce(here.platform)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    made = first(here, file.read_text().strip())

    assert (made.status_code, made.json()["status"]) == (201, "active")
    assert not file.exists()
    me = {"authorization": f"Bearer {here.sign_in('root@example.org').json()['access_token']}"}
    assert here.client.get("/api/v1/me", headers=me).json()["role"] == "administrator"


def test_a_new_start_makes_a_new_token_and_ends_the_old_one(place: MakePlace) -> None:
    here = place()
    file = here.platform.settings.first_administrator_file
    tokens = []
    for _ in range(2):
        administrators.announce(here.platform)
        tokens.append(file.read_text().strip())

    assert first(here, tokens[0]).status_code == 400
    assert first(here, tokens[1]).status_code == 201


def test_the_token_lasts_a_day(place: MakePlace, clock: Any) -> None:
    here = place()
    administrators.announce(here.platform)
    token = here.platform.settings.first_administrator_file.read_text().strip()
    clock.advance(hours=24)

    assert first(here, token).status_code == 400


def test_with_an_administrator_there_is_no_token(place: MakePlace) -> None:
    here = place()
    file = here.platform.settings.first_administrator_file
    administrators.announce(here.platform)
    token = file.read_text().strip()
    here.administrator()
    assert not file.exists()

    administrators.announce(here.platform)

    assert not file.exists()
    assert first(here, token, email="eve@example.org").status_code == 400
    assert here.users() == 1


def test_a_taken_address_does_not_use_the_token_up(place: MakePlace) -> None:
    here = place()
    here.register("root@example.org")
    administrators.announce(here.platform)
    token = here.platform.settings.first_administrator_file.read_text().strip()

    taken = first(here, token)
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "email_taken")
    assert first(here, token, email="other@example.org").status_code == 201


def test_the_owner_of_the_machine_promotes_an_account(place: MakePlace) -> None:
    here = place()
    id = here.register().json()["id"]

    answer = here.local.post("/local/v1/administrators", json={"email": "Ada@example.org"})

    assert (answer.status_code, answer.json()["id"]) == (201, id)
    me = {"authorization": f"Bearer {here.sign_in().json()['access_token']}"}
    assert here.client.get("/api/v1/me", headers=me).json()["role"] == "administrator"
    with here.platform.database.reads() as reading:
        changes = select(AuditEntry).where(AuditEntry.action == "user.change")
        (entry,) = reading.scalars(changes).all()
    assert (entry.actor, entry.subject) == (None, id)
    assert json.loads(entry.details)["by"] == "local"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"email": "nobody@example.org"}, 404),
        ({"email": "ada@example.org", "password": PASSWORD}, 409),
        ({"email": "new@example.org", "password": "short"}, 422),
        ({"email": "new@example.org", "password": PASSWORD, "role": "user"}, 422),
    ],
)
def test_what_the_owner_of_the_machine_cannot_do(
    place: MakePlace, body: dict[str, Any], status: int
) -> None:
    here = place()
    here.register()

    assert here.local.post("/local/v1/administrators", json=body).status_code == status


def test_an_account_that_waits_is_not_promoted(place: MakePlace) -> None:
    here = place(registration="approval")
    here.register()

    answer = here.local.post("/local/v1/administrators", json={"email": "ada@example.org"})

    assert answer.status_code == 404


def test_the_local_way_is_not_public(place: MakePlace) -> None:
    here = place()
    body = {"email": "eve@example.org", "password": PASSWORD}

    assert here.client.post("/local/v1/administrators", json=body).status_code == 404


def first(here: Place, token: str, email: str = "root@example.org") -> Any:
    return here.post("administrators", token=token, email=email, password=PASSWORD)
