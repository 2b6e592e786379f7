"""Groups, their members, and what all of them may call."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse_control.identity.models import Role
from fixtures.control_plane import Account


@pytest.fixture
def group(administrator: Account) -> str:
    answer = administrator.post("/api/v1/groups", {"name": "Painters"})
    assert answer.status_code == 201, answer.text
    return f"/api/v1/groups/{answer.json()['id']}"


def test_a_group_gives_its_members_what_it_has(
    ada: Account, administrator: Account, group: str
) -> None:
    assert administrator.put(f"{group}/members/{ada.id}", None).status_code == 204
    given = administrator.put(
        f"{group}/entitlements/draw", {"expires_at": "2031-01-01T00:00:00Z", "reason": "art"}
    )

    assert given.json() == {
        "service": "draw",
        "created_at": "2030-01-01T00:00:00Z",
        "expires_at": "2031-01-01T00:00:00Z",
        "reason": "art",
        "granted_by": administrator.id,
    }
    assert ada.get("/api/v1/services/draw").json()["entitled"] is True
    shown = administrator.get(group).json()
    assert (shown["name"], shown["members"], shown["services"]) == ("Painters", 1, 1)
    assert shown["entitlements"] == [given.json()]
    (listed,) = administrator.get("/api/v1/groups").json()["items"]
    assert listed == {name: shown[name] for name in listed}
    assert administrator.get(f"{group}/members").json()["items"] == [
        {
            "user": ada.id,
            "email": "ada@example.org",
            "added_by": administrator.id,
            "added_at": "2030-01-01T00:00:00Z",
        }
    ]


@pytest.mark.parametrize("way", ["leave", "take", "delete"])
def test_losing_what_a_group_gave_cuts_unless_it_is_ones_own_too(
    ada: Account,
    administrator: Account,
    sign_up: Callable[..., Account],
    internal: TestClient,
    group: str,
    way: str,
) -> None:
    bob = sign_up("bob@example.org")
    for user in (ada, bob):
        administrator.put(f"{group}/members/{user.id}", None)
    administrator.put(f"{group}/entitlements/chat", {})
    bob.post("/api/v1/entitlements", {"service": "chat"})
    before = internal.get("/internal/v1/revocations?after=0").json()["last"]

    if way == "leave":
        for user in (ada, bob):
            assert administrator.delete(f"{group}/members/{user.id}").status_code == 204
    else:
        path = f"{group}/entitlements/chat" if way == "take" else group
        assert administrator.delete(path).status_code == 204

    items = internal.get(f"/internal/v1/revocations?after={before}").json()["items"]
    assert {(item["id"], item["service"], item["cuts"]) for item in items} == {
        (ada.id, "chat", True),
        (bob.id, "chat", False),
    }
    assert ada.get("/api/v1/services/chat").json()["entitled"] is False
    assert bob.get("/api/v1/services/chat").json()["entitled"] is True


def test_joining_and_granting_are_announced_to_each_member(
    ada: Account, administrator: Account, internal: TestClient, group: str
) -> None:
    for _ in range(2):
        administrator.put(f"{group}/members/{ada.id}", None)
    administrator.put(f"{group}/entitlements/chat", {})

    items = internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert [(item["id"], item["cuts"]) for item in items] == [(ada.id, False)] * 2


def test_what_is_not_there_is_not_found(ada: Account, administrator: Account, group: str) -> None:
    none = "/api/v1/groups/grp_none"
    assert administrator.get(none).status_code == 404
    assert administrator.get(f"{none}/members").status_code == 404
    assert administrator.patch(none, {"name": "X"}).status_code == 404
    assert administrator.delete(none).status_code == 404
    assert administrator.put(f"{none}/members/{ada.id}", None).status_code == 404
    assert administrator.put(f"{none}/entitlements/chat", {}).status_code == 404
    assert administrator.put(f"{group}/members/usr_none", None).status_code == 404
    assert administrator.delete(f"{group}/members/{ada.id}").status_code == 404
    assert administrator.put(f"{group}/entitlements/nope", {}).status_code == 404
    assert administrator.delete(f"{group}/entitlements/chat").status_code == 404


def test_names_are_taken_once(administrator: Account, group: str) -> None:
    other = administrator.post("/api/v1/groups", {"name": "Talkers"}).json()["id"]

    for taken in (
        administrator.post("/api/v1/groups", {"name": "Painters"}),
        administrator.patch(f"/api/v1/groups/{other}", {"name": "Painters"}),
    ):
        assert (taken.status_code, taken.json()["error"]["code"]) == (409, "already_exists")
    renamed = administrator.patch(group, {"name": "Drawers"})
    assert renamed.json()["name"] == "Drawers"
    assert administrator.patch(group, {"name": "Drawers"}).status_code == 200


def test_of_many_groups_of_one_name_at_once_one_is_made(
    installation: Any, promote: Callable[..., None], at_once: Callable[..., list[Any]]
) -> None:
    root = installation.sign_up()
    promote(installation.platform, root, Role.ADMINISTRATOR)

    answers = at_once(16, lambda: root.post("/api/v1/groups", {"name": "One"}))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15
    assert len(root.get("/api/v1/groups").json()["items"]) == 1


def test_a_group_is_gone_for_whoever_joins_while_it_is_deleted(
    installation: Any, promote: Callable[..., None], at_once: Callable[..., list[Any]]
) -> None:
    root, ada = installation.sign_up("r@example.org"), installation.sign_up()
    promote(installation.platform, root, Role.ADMINISTRATOR)
    group = f"/api/v1/groups/{root.post('/api/v1/groups', {'name': 'G'}).json()['id']}"
    root.put(f"{group}/entitlements/draw", {})
    calls = iter(
        [lambda: root.delete(group)] + [lambda: root.put(f"{group}/members/{ada.id}", None)] * 7
    )

    answers = at_once(8, lambda: next(calls)())

    assert {answer.status_code for answer in answers} <= {204, 404}
    assert ada.get("/api/v1/services/draw").json()["entitled"] is False


def test_making_a_group_again_with_the_same_key_makes_one(administrator: Account) -> None:
    headers = {
        "authorization": f"Bearer {administrator.access_token}",
        "idempotency-key": "once",
    }
    made = [
        administrator.client.post("/api/v1/groups", json={"name": "One"}, headers=headers)
        for _ in range(2)
    ]

    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json() == made[1].json()
