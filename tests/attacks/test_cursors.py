"""T39: where a page begins is ours to say. Every list of the OpenAPI document that has pages."""

from collections.abc import Callable
from typing import Any

import pytest

from dormouse_control.identity.models import Role
from dormouse_control.pages import Cursors
from fixtures.operations import PARAMETER, operations

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."


def _pages(client: Any) -> list[str]:
    document = client.get("/api/v1/openapi.json").json()
    return [
        path
        for path, methods in document["paths"].items()
        if any(each["name"] == "after" for each in methods.get("get", {}).get("parameters", []))
    ]


@pytest.fixture
def paged(ada: Any) -> Any:
    """Ada, with three keys."""
    for number in range(3):
        ada.key(f"key {number}")
    return ada


def first_page(account: Any, path: str = "/api/v1/keys") -> Any:
    page = account.get(path, params={"limit": 1}).json()
    assert page["next"] is not None
    return page


def refused(answer: Any) -> bool:
    error = answer.json().get("error", {})
    if answer.status_code == 422:
        return bool(error["param"] == "after")  # characters that stand in no cursor
    return (answer.status_code, error.get("code")) == (400, "invalid_cursor")


def test_t39_every_list_with_pages_refuses_what_it_did_not_give_out(
    client, administrator, paged
) -> None:
    lists = _pages(client)
    own = first_page(paged)["next"]
    forged = [own, "x", "1.2.3", "key_1", f"{own}x", "." + own.rpartition(".")[2], "..", "-"]
    forged += [own.rpartition(".")[0], "0", f"0.{'A' * 43}", "99999999999999999999.1"]

    assert len(lists) >= 9
    for path in lists:
        at = PARAMETER.sub(paged.id if "users" in path else "x", path)
        for cursor in forged:
            answer = administrator.get(at, params={"after": cursor})
            # A list of something that does not exist may say so first.
            assert refused(answer) or (answer.status_code == 404 and at != path), (path, cursor)


@pytest.mark.parametrize("bit", range(8))
def test_t39_a_cursor_with_any_bit_changed_is_refused(paged, bit) -> None:
    cursor = first_page(paged)["next"]
    for place in range(len(cursor)):
        raw = bytearray(cursor.encode())
        raw[place] ^= 1 << bit
        answer = paged.get("/api/v1/keys", params={"after": raw.decode("latin-1")})
        assert refused(answer), (place, raw)
    assert paged.get("/api/v1/keys", params={"after": cursor}).status_code == 200


def test_t39_a_cursor_with_any_character_changed_added_or_left_out_is_refused(paged) -> None:
    cursor = first_page(paged)["next"]
    changed = [cursor[:place] + cursor[place + 1 :] for place in range(len(cursor))]
    # The last character of base64 carries bits that decoding ignores: all others must fail there.
    changed += [cursor[:-1] + each for each in ALPHABET if each != cursor[-1]]
    changed += [cursor + each for each in ALPHABET] + [each + cursor for each in ALPHABET]
    for each in changed:
        assert refused(paged.get("/api/v1/keys", params={"after": each})), each


def test_t39_a_cursor_is_good_for_its_owner_only(paged, sign_up) -> None:
    bob = sign_up("bob@example.org")
    cursor = first_page(paged)["next"]

    assert refused(bob.get("/api/v1/keys", params={"after": cursor}))


def test_t39_a_cursor_is_good_for_its_list_only(administrator) -> None:
    for number in range(3):
        administrator.key(f"key {number}")
    mine = first_page(administrator)["next"]
    audit = first_page(administrator, "/api/v1/audit")["next"]

    for path in ("/api/v1/usage", "/api/v1/audit", "/api/v1/users", "/api/v1/groups"):
        assert refused(administrator.get(path, params={"after": mine})), path
    assert refused(administrator.get("/api/v1/keys", params={"after": audit}))


def test_t39_a_cursor_is_good_for_its_filters_only(administrator, paged) -> None:
    made = {"action": "key", "actor": paged.id, "limit": 1}
    page = administrator.get("/api/v1/audit", params=made).json()
    cursor = page["next"]
    get: Callable[..., Any] = lambda **query: administrator.get("/api/v1/audit", params=query)  # noqa: E731

    assert get(**made, after=cursor).status_code == 200
    assert refused(get(limit=1, after=cursor))
    assert refused(get(action="key", limit=1, after=cursor))
    assert refused(get(**(made | {"action": "key."}), after=cursor))
    assert refused(get(**made, outcome="done", after=cursor))
    assert refused(get(actor="key", action=paged.id, after=cursor))


def test_t39_a_cursor_of_another_installation_is_refused(paged, platform) -> None:
    from dormouse_control.sealing import Sealing

    own = Cursors(platform.sealing, paged.id, "keys", {}).write("key_x")
    other = Cursors(Sealing(b"another secret"), paged.id, "keys", {}).write("key_x")

    assert paged.get("/api/v1/keys", params={"after": own}).status_code == 200
    assert refused(paged.get("/api/v1/keys", params={"after": other}))


def test_following_the_cursors_gives_everything_once(with_role, sign_up) -> None:
    root = with_role(Role.ADMINISTRATOR)
    for number in range(5):
        sign_up(f"user{number}@example.org")
    for path in ("/api/v1/audit", "/api/v1/users"):
        whole = root.get(path, params={"limit": 200}).json()["items"]
        found, after = [], {}
        while True:
            page = root.get(path, params={"limit": 2, **after}).json()
            found += page["items"]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert found == whole
        assert len(found) >= 5


def test_every_list_has_pages_or_is_known_to_be_short(client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    short = {
        "/api/v1/entitlements",  # as many as services
        "/api/v1/me/identities",  # as many as providers
        "/api/v1/providers",
        "/api/v1/services",
        "/api/v1/signing-keys",
    }
    lists = {
        operation.path
        for operation in operations(document)
        if operation.method == "GET"
        and "Page"
        in str(document["paths"][operation.path]["get"]["responses"].get("200", {}).get("content"))
    }

    assert lists - set(_pages(client)) == short & lists
    assert len(lists) > 10
