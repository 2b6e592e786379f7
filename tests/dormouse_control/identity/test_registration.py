"""Who may register, and how an account begins."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from dormouse_control.audit.models import AuditEntry
from dormouse_control.groups.models import Group, GroupMember
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.identity.registration import first_status
from dormouse_control.tiers.models import Tier
from fixtures.accounts import Place
from fixtures.control_plane import PASSWORD

MakePlace = Callable[..., Place]


@pytest.mark.parametrize(
    ("mode", "must_verify", "verified", "invited", "status"),
    [
        ("open", False, False, False, "active"),
        ("open", True, False, False, "unverified"),
        ("open", True, True, True, "active"),
        ("approval", False, False, False, "pending"),
        ("approval", False, False, True, "active"),
        ("approval", True, False, True, "unverified"),
        ("approval", True, True, False, "pending"),
        ("invitation", False, False, True, "active"),
        ("invitation", True, False, True, "unverified"),
    ],
)
def test_how_an_account_begins(
    mode: Any, must_verify: bool, verified: bool, invited: bool, status: str
) -> None:
    found = first_status(mode, must_verify=must_verify, verified=verified, invited=invited)

    assert found == status


def test_an_address_that_must_be_verified_opens_the_account(place: MakePlace) -> None:
    here = place(verify_email=True)
    registered = here.register("Ada@Example.org")
    assert (registered.status_code, registered.json()["status"]) == (201, "unverified")
    assert here.sign_in().status_code != 201

    confirmed = here.post("verifications/confirm", token=here.mailed_token())

    assert (confirmed.status_code, confirmed.json()) == (
        200,
        registered.json() | {"status": "active"},
    )
    assert here.sign_in().status_code == 201


def test_an_account_that_must_be_approved_waits(place: MakePlace) -> None:
    here = place(registration="approval")
    assert here.register().json()["status"] == "pending"
    assert here.sign_in().status_code != 201
    assert here.mail() == []


def test_who_forgot_to_verify_is_told_how_and_so_is_everybody(place: MakePlace) -> None:
    here = place(verify_email=True, public_url="https://models.example.org/")
    here.register()
    answers = [here.sign_in(), here.sign_in(password="wrong"), here.sign_in("no@example.org")]

    (error,) = {each.text for each in answers}
    assert {each.status_code for each in answers} == {401}
    assert "https://models.example.org/account/verify" in error
    assert "verif" not in place().sign_in().text


def test_verifying_does_not_approve(place: MakePlace) -> None:
    here = place(registration="approval", verify_email=True)
    assert here.register().json()["status"] == "unverified"

    confirmed = here.post("verifications/confirm", token=here.mailed_token())

    assert confirmed.json()["status"] == "pending"
    assert here.sign_in().status_code != 201


def test_without_an_invitation_registration_is_closed(place: MakePlace) -> None:
    here = place(registration="invitation")
    answer = here.register()

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "invitation_required")
    assert here.users() == 0


def test_an_invitation_gives_its_tier_and_groups(place: MakePlace) -> None:
    here = place(registration="invitation")
    with here.platform.database.sessions.begin() as session:
        now = here.platform.clock()
        session.add(Tier(id="gold", title="Gold", highest_priority=0, most_keys=5, created_at=now))
        session.add(Group(id="grp_1", name="staff", created_at=now))
        session.add(Group(id="grp_2", name="gone", created_at=now))
    administrator = here.administrator()
    invitation = here.invite(administrator, tier="gold", groups=["grp_2", "grp_1"])
    with here.platform.database.sessions.begin() as session:
        session.delete(session.get(Group, "grp_2"))

    registered = here.register(invitation=invitation["token"])

    assert (registered.status_code, registered.json()["status"]) == (201, "active")
    id = registered.json()["id"]
    with here.platform.database.reads() as reading:
        user = reading.get(User, id)
        assert user is not None
        assert (user.tier, user.role, user.email_verified_at) == ("gold", "user", None)
        (member,) = reading.scalars(select(GroupMember)).all()
        assert (member.group_id, member.user_id) == ("grp_1", id)
        assert member.added_by == administrator.id
    (listed,) = administrator.get("/api/v1/invitations").json()["items"]
    assert listed["used_by"] == id


def test_an_invitation_skips_approval_but_not_verification(place: MakePlace) -> None:
    here = place(registration="approval", verify_email=True)
    invitation = here.invite(here.administrator(), email="ada@example.org")
    registered = here.register(invitation=invitation["token"])
    assert registered.json()["status"] == "unverified"

    confirmed = here.post("verifications/confirm", token=here.mailed_token())

    assert confirmed.json()["status"] == "active"


def test_a_mailed_invitation_verifies_its_address(place: MakePlace) -> None:
    here = place(registration="invitation", verify_email=True)
    invitation = here.invite(here.administrator(), email="ada@example.org", mail=True)
    assert invitation["token"] is None

    registered = here.register(invitation=here.mailed_token())

    assert registered.json()["status"] == "active"
    assert here.mail() == []
    assert here.sign_in().status_code == 201


def test_a_weak_password_does_not_use_an_invitation_up(place: MakePlace) -> None:
    here = place(registration="invitation")
    token = here.invite(here.administrator())["token"]
    body = {"email": "ada@example.org", "invitation": token}

    assert here.post("registrations", password="short", **body).status_code == 422
    assert here.post("registrations", password=PASSWORD, **body).status_code == 201


def test_registering_is_in_the_audit_log_without_the_address(place: MakePlace) -> None:
    here = place()
    id = here.register().json()["id"]

    with here.platform.database.reads() as reading:
        (entry,) = reading.scalars(select(AuditEntry)).all()
    assert (entry.action, entry.subject, entry.outcome) == ("user.register", id, "done")
    assert "ada" not in entry.details


@pytest.mark.parametrize("status", [UserStatus.DISABLED, UserStatus.ERASED])
def test_a_closed_account_is_not_verified_any_more(place: MakePlace, status: UserStatus) -> None:
    here = place(verify_email=True)
    id = here.register().json()["id"]
    token = here.mailed_token()
    with here.platform.database.sessions.begin() as session:
        user = session.get(User, id)
        assert user is not None
        user.status = status

    answer = here.post("verifications/confirm", token=token)

    assert answer.json()["error"]["code"] == "invalid_token"
    with here.platform.database.reads() as reading:
        assert reading.scalar(select(User.status)) is status


def test_a_link_to_verify_is_sent_again_when_asked(place: MakePlace, clock: Any) -> None:
    here = place(verify_email=True)
    here.register()
    first = here.mailed_token()
    clock.advance(minutes=2)
    asked = here.post("verifications", email="ADA@example.org")
    assert (asked.status_code, asked.json()) == (202, {})
    second = here.mailed_token()

    assert first != second
    clock.time += timedelta(hours=23, minutes=59)
    assert here.post("verifications/confirm", token=first).status_code == 400
    assert here.post("verifications/confirm", token=second).status_code == 200
