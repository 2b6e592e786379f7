"""What administrators may change about whom."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from dormouse_control.audit.record import Actor
from dormouse_control.errors import Conflict
from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.leaving.operations import erase_other
from dormouse_control.users.operations import Changes, change
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD, Account


@pytest.fixture
def put_into(platform: Platform) -> Callable[[Account, UserStatus], None]:
    def put(account: Account, status: UserStatus) -> None:
        with platform.database.sessions.begin() as session:
            session.execute(update(User).where(User.id == account.id).values(status=status))

    return put


def test_a_user_as_administrators_see_them(ada: Account, administrator: Account) -> None:
    assert administrator.get(f"/api/v1/users/{ada.id}").json() == {
        "id": ada.id,
        "email": "ada@example.org",
        "status": "active",
        "role": "user",
        "tier": "standard",
        "created_at": "2030-01-01T00:00:00Z",
        "email_verified_at": None,
        "second_factor": False,
    }
    assert administrator.get("/api/v1/users/usr_nobody").status_code == 404


def test_users_are_found_by_part_of_their_address(
    sign_up: Callable[..., Account], administrator: Account
) -> None:
    for name in ("ada", "adam", "a_a", "a%a"):
        sign_up(f"{name}@example.com")

    def found(part: str) -> list[str]:
        listed = administrator.get("/api/v1/users", params={"q": part}).json()["items"]
        return sorted(item["email"].partition("@")[0] for item in listed)

    assert found("ada") == ["ada", "adam"]
    assert found("ADA@") == ["ada"]
    assert found("a_a") == ["a_a"]
    assert found("%") == ["a%a"]
    assert found("nobody") == []


def test_users_are_filtered_and_read_page_by_page(
    sign_up: Callable[..., Account], administrator: Account, put_into: Callable[..., None]
) -> None:
    people = [sign_up(f"u{number}@example.org") for number in range(5)]
    put_into(people[2], UserStatus.PENDING)

    seen, after = [], None
    while True:
        query = {"role": "user", "limit": 2} | ({"after": after} if after else {})
        page = administrator.get("/api/v1/users", params=query).json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [account.id for account in reversed(people)]

    pending = administrator.get("/api/v1/users?status=pending").json()["items"]
    assert [item["id"] for item in pending] == [people[2].id]
    assert administrator.get("/api/v1/users?tier=gold").json()["items"] == []


def test_a_cursor_is_good_for_its_own_list_and_reader_only(
    sign_up: Callable[..., Account],
    administrator: Account,
    with_role: Callable[..., Account],
) -> None:
    sign_up("bob@example.org")
    cursor = administrator.get("/api/v1/users?limit=1").json()["next"]

    assert administrator.get(f"/api/v1/users?limit=1&after={cursor}").status_code == 200
    other = with_role(Role.OPERATOR)
    for reader, path in (
        (administrator, f"/api/v1/users?q=b&after={cursor}"),
        (administrator, f"/api/v1/users?after={cursor}x"),
        (administrator, "/api/v1/users?after=usr_1.x"),
        (administrator, f"/api/v1/groups?after={cursor}"),
        (other, f"/api/v1/users?after={cursor}"),
    ):
        refused = reader.get(path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    ("before", "wanted", "status"),
    [
        (UserStatus.PENDING, "active", 200),
        (UserStatus.UNVERIFIED, "active", 200),
        (UserStatus.DISABLED, "active", 200),
        (UserStatus.ACTIVE, "active", 200),
        (UserStatus.ACTIVE, "disabled", 200),
        (UserStatus.DISABLED, "disabled", 200),
        (UserStatus.PENDING, "disabled", 409),
        (UserStatus.UNVERIFIED, "disabled", 409),
        (UserStatus.ERASED, "active", 404),
        (UserStatus.ERASED, "disabled", 404),
        (UserStatus.ACTIVE, "erased", 422),
        (UserStatus.ACTIVE, "pending", 422),
    ],
)
def test_statuses_change_only_along_the_allowed_ways(
    ada: Account,
    administrator: Account,
    put_into: Callable[..., None],
    before: UserStatus,
    wanted: str,
    status: int,
) -> None:
    put_into(ada, before)

    answer = administrator.patch(f"/api/v1/users/{ada.id}", {"status": wanted})

    assert answer.status_code == status
    now = administrator.get(f"/api/v1/users/{ada.id}").json()["status"]
    assert now == (wanted if status == 200 else before)


def test_who_is_disabled_has_no_session_and_no_working_key(
    ada: Account, administrator: Account, client: TestClient, internal: TestClient
) -> None:
    key = ada.key()["key"]

    assert administrator.patch(f"/api/v1/users/{ada.id}", {"status": "disabled"}).json()[
        "status"
    ] == ("disabled")

    assert ada.get("/api/v1/me").status_code == 401
    by_key = client.get("/api/v1/me", headers={"authorization": f"Bearer {key}"})
    assert by_key.status_code == 401
    items = internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert [(item["kind"], item["cuts"]) for item in items[-2:]] == [
        ("session", True),
        ("user", True),
    ]
    administrator.patch(f"/api/v1/users/{ada.id}", {"status": "active"})
    # The sessions are gone for good, the keys were only asleep.
    assert ada.get("/api/v1/me").status_code == 401
    again = client.get("/api/v1/me", headers={"authorization": f"Bearer {key}"})
    assert again.status_code == 200


def test_a_change_is_noted_with_what_it_was_before(
    ada: Account, administrator: Account, audited: Any
) -> None:
    administrator.patch(f"/api/v1/users/{ada.id}", {"role": "operator"})
    administrator.patch(f"/api/v1/users/{ada.id}", {"role": "operator"})

    changes = [entry for entry in audited() if entry.action == "user.change"]
    assert [(entry.actor, entry.subject, entry.details) for entry in changes] == [
        (administrator.id, ada.id, '{"role": ["user", "operator"]}')
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"role": "root"},
        {"role": None},
        {"status": None},
        {"tier": None},
        {"tier": "gold"},
        {"email": "x@example.org"},
        {"id": "usr_1"},
        {"password_hash": "x"},
        {"created_at": "2030-01-01T00:00:00Z"},
    ],
)
def test_what_is_not_to_be_changed_is_refused(
    ada: Account, administrator: Account, body: Any
) -> None:
    before = administrator.get(f"/api/v1/users/{ada.id}").json()

    assert administrator.patch(f"/api/v1/users/{ada.id}", body).status_code == 422
    assert administrator.get(f"/api/v1/users/{ada.id}").json() == before


def test_nobody_changes_their_own_role_or_status(
    administrator: Account, with_role: Callable[..., Account]
) -> None:
    with_role(Role.ADMINISTRATOR, "second@example.org")
    me = f"/api/v1/users/{administrator.id}"

    for body in ({"role": "user"}, {"status": "disabled"}):
        assert administrator.patch(me, body).status_code == 409
    assert administrator.delete(me).status_code == 409
    assert administrator.patch(me, {"role": "administrator"}).status_code == 200


def test_the_last_active_administrator_stays_whoever_asks(
    administrator: Account, platform: Platform, with_role: Callable[..., Account]
) -> None:
    second = with_role(Role.ADMINISTRATOR, "second@example.org")
    path = f"/api/v1/users/{second.id}"
    # As if the one who asks had been removed after they were let in.
    with platform.database.sessions.begin() as session:
        session.execute(
            update(User).where(User.id == administrator.id).values(status=UserStatus.DISABLED)
        )
    actor, now = Actor(id=administrator.id), platform.clock()
    for changes in (Changes(role=Role.USER), Changes(status=UserStatus.DISABLED)):
        with pytest.raises(Conflict), platform.database.sessions.begin() as session:
            change(session, user_id=second.id, changes=changes, actor=actor, now=now)
    with pytest.raises(Conflict), platform.database.sessions.begin() as session:
        erase_other(session, user_id=second.id, sealing=platform.sealing, actor=actor, now=now)
    assert second.get(path).json()["role"] == "administrator"
    alone = second.post("/api/v1/me/erase", {"password": PASSWORD})
    assert alone.status_code == 409


@pytest.mark.parametrize("way", ["demote", "disable", "erase"])
def test_of_sixteen_administrators_who_remove_each_other_at_once_one_is_left(
    installation: Any, promote: Callable[..., None], way: str
) -> None:
    people = [installation.sign_up(f"a{number}@example.org") for number in range(16)]
    for person in people:
        promote(installation.platform, person, Role.ADMINISTRATOR)

    def remove(number: int) -> int:
        path = f"/api/v1/users/{people[(number + 1) % 16].id}"
        me = people[number]
        if way == "erase":
            status: int = me.delete(path).status_code
            return status
        body = {"role": "user"} if way == "demote" else {"status": "disabled"}
        return int(me.patch(path, body).status_code)

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(remove, range(16)))

    assert set(statuses) <= {200, 204, 401, 403, 404, 409}
    with installation.platform.database.reads() as reading:
        left = [
            user
            for user in reading.query(User)
            if user.role is Role.ADMINISTRATOR and user.status is UserStatus.ACTIVE
        ]
    assert len(left) >= 1
    assert sum(status < 300 for status in statuses) == 16 - len(left)


def test_a_users_sessions_are_ended(
    ada: Account, administrator: Account, internal: TestClient
) -> None:
    assert administrator.delete(f"/api/v1/users/{ada.id}/sessions").status_code == 204

    assert ada.get("/api/v1/me").status_code == 401
    last = internal.get("/internal/v1/revocations?after=0").json()["items"][-1]
    assert (last["kind"], last["cuts"]) == ("session", True)
    assert administrator.delete("/api/v1/users/usr_x/sessions").status_code == 404


def test_a_users_keys_are_seen_and_revoked(
    ada: Account, administrator: Account, sign_up: Callable[..., Account], client: TestClient
) -> None:
    made, bob = ada.key("laptop"), sign_up("bob@example.org")
    keys = f"/api/v1/users/{ada.id}/keys"

    listed = administrator.get(keys).json()["items"]
    assert [(item["id"], item["name"]) for item in listed] == [(made["id"], "laptop")]
    assert made["key"] not in administrator.get(keys).text
    wrong = administrator.delete(f"/api/v1/users/{bob.id}/keys/{made['id']}")
    assert wrong.status_code == 404
    assert administrator.delete(f"{keys}/{made['id']}").status_code == 204
    header = {"authorization": f"Bearer {made['key']}"}
    assert client.get("/api/v1/me", headers=header).status_code == 401


def test_a_new_tier_is_announced_and_cuts_nothing(
    ada: Account, administrator: Account, internal: TestClient
) -> None:
    administrator.put("/api/v1/tiers/gold", {"title": "Gold"})

    changed = administrator.patch(f"/api/v1/users/{ada.id}", {"tier": "gold"})

    assert changed.json()["tier"] == "gold"
    last = internal.get("/internal/v1/revocations?after=0").json()["items"][-1]
    assert (last["kind"], last["id"], last["cuts"]) == ("user", ada.id, False)
