"""Which account somebody gets, case by case."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dormouse_control.identity.models import User, UserStatus
from dormouse_control.invitations.models import Invitation
from dormouse_control.oidc.decisions import (
    Decision,
    Link,
    Refuse,
    Register,
    SignIn,
    decide,
    decide_link,
)
from dormouse_control.oidc.provider import Person
from fixtures.oidc import configured

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def user(id: str = "usr_a", *, status: str = "active", verified: bool = True) -> User:
    return User(
        id=id,
        email="ada@example.org",
        status=UserStatus(status),
        email_verified_at=NOW if verified else None,
    )


def decision(**changes: Any) -> Decision:
    person = Person("https://id.example", "7", "ada@example.org", email_verified=True)
    facts: dict[str, Any] = {
        "known": None,
        "namesake": None,
        "registration": "open",
        "invitation": None,
        "provider": configured("company", "https://id.example", **changes.pop("provider", {})),
    }
    return decide(changes.pop("person", person), **(facts | changes))


def code(found: Decision) -> str:
    assert isinstance(found, Refuse)
    return found.error.code


def test_who_is_known_gets_in_whatever_the_address_says() -> None:
    known, other = user("usr_known"), user("usr_other")
    unverified = Person("https://id.example", "7", None, email_verified=False)

    assert decision(known=known, namesake=other) == SignIn(known)
    assert decision(known=known, person=unverified) == SignIn(known)


@pytest.mark.parametrize("status", ["disabled", "pending", "unverified", "erased"])
def test_who_may_not_act_here_does_not_get_in(status: str) -> None:
    there = user(status=status)

    assert code(decision(known=there)) == "account_not_active"
    assert code(decision(namesake=there)) == "account_not_active"
    assert code(decide_link(known=None, owner=there)) == "account_not_active"


def test_a_namesake_is_linked_only_if_both_sides_verified_the_address() -> None:
    there = user()
    unverified = Person("https://id.example", "7", "ada@example.org", email_verified=False)

    assert decision(namesake=there) == Link(there)
    assert code(decision(namesake=there, person=unverified)) == "email_not_verified"
    assert code(decision(namesake=user(verified=False))) == "link_by_hand"
    assert code(decision(namesake=there, provider={"link_verified_email": False})) == "link_by_hand"


def test_a_namesake_that_is_disabled_and_unverified_is_told_no_more_than_any() -> None:
    there = user(status="disabled", verified=False)

    assert code(decision(namesake=there)) == "link_by_hand"


def test_who_is_new_registers_as_the_platform_says() -> None:
    active = Register("ada@example.org", UserStatus.ACTIVE)
    pending = Register("ada@example.org", UserStatus.PENDING)

    assert decision() == active
    assert decision(registration="approval") == pending
    assert code(decision(registration="invitation")) == "invitation_required"
    assert code(decision(provider={"register": False})) == "invitation_required"


def test_who_is_invited_registers_where_others_may_not() -> None:
    invitation = Invitation(id="inv_a")
    registered = Register("ada@example.org", UserStatus.ACTIVE, invitation)
    own_word = {"link_verified_email": False}

    assert decision(registration="invitation", invitation=invitation) == registered
    assert decision(registration="approval", invitation=invitation) == registered
    for provider in ({"register": False}, own_word):
        found = decision(registration="invitation", invitation=invitation, provider=provider)
        assert code(found) == "invitation_required"
    unverified = Person("https://id.example", "7", "ada@example.org", email_verified=False)
    found = decision(registration="invitation", invitation=invitation, person=unverified)
    assert code(found) == "email_not_verified"


def test_an_identity_is_linked_by_hand_to_one_account() -> None:
    owner = user()

    assert decide_link(known=None, owner=owner) == SignIn(owner)
    assert decide_link(known=owner, owner=owner) == SignIn(owner)
    assert code(decide_link(known=user("usr_other"), owner=owner)) == "already_exists"
