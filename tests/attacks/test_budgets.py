"""Attacks on budgets: others' ones, amounts that are none, races, and mail by the thousand."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dormouse_control.identity.models import Role, User
from dormouse_control.mail import outbox
from dormouse_control.mail.preparing import prepare

NOTHING: list[Any] = [0, -1, -1e-9, 1e-10, 1e10, 1e300, "1", True, None, [], {}]
GOOD = {"limit": 1}


def path(subject: str, period: str = "month") -> str:
    return f"/api/v1/budgets/{subject}/{period}"


@pytest.mark.parametrize("amount", NOTHING, ids=repr)
def test_t104_an_amount_that_is_none_is_refused(ada: Any, administrator: Any, amount: Any) -> None:
    assert administrator.put(path(ada.id), {"limit": amount}).status_code == 422
    key = {"name": "x", "budget": {"amount": amount, "period": "day"}}
    assert ada.post("/api/v1/keys", key).status_code == 422
    if amount is not None:
        tier = {"title": "x", "monthly_budget": amount}
        assert administrator.put("/api/v1/tiers/x", tier).status_code == 422
    assert administrator.get("/api/v1/budgets").json()["items"] == []


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_t104_numbers_that_json_does_not_have_are_refused(
    client: Any, ada: Any, administrator: Any, text: str
) -> None:
    headers = {
        "authorization": f"Bearer {administrator.access_token}",
        "content-type": "application/json",
    }
    bodies = {
        path(ada.id): '{"limit": AMOUNT}',
        "/api/v1/tiers/x": '{"title": "x", "monthly_budget": AMOUNT}',
    }
    for where, body in bodies.items():
        answer = client.put(where, headers=headers, content=body.replace("AMOUNT", text))
        assert answer.status_code in (400, 422), answer.text
    key = '{"name": "x", "budget": {"amount": AMOUNT, "period": "day"}}'.replace("AMOUNT", text)
    assert client.post("/api/v1/keys", headers=headers, content=key).status_code in (400, 422)


@pytest.mark.parametrize(
    "thresholds",
    [
        [],
        None,
        {},
        [{}],
        [{"at_percent": 0, "action": "refuse"}],
        [{"at_percent": -1, "action": "refuse"}],
        [{"at_percent": 1001, "action": "refuse"}],
        [{"at_percent": 80.5, "action": "refuse"}],
        [{"at_percent": "80", "action": "refuse"}],
        [{"at_percent": True, "action": "refuse"}],
        [{"at_percent": 2**63, "action": "refuse"}],
        [{"at_percent": 80, "action": "explode"}],
        [{"at_percent": 80, "action": "refuse", "to": "eve@example.org"}],
        [{"at_percent": 80, "action": "notify"}] * 2,
        [{"at_percent": percent, "action": "notify"} for percent in range(1, 12)],
    ],
    ids=json.dumps,
)
def test_thresholds_that_mean_nothing_are_refused(
    ada: Any, administrator: Any, thresholds: Any
) -> None:
    body = GOOD | {"thresholds": thresholds}
    assert administrator.put(path(ada.id), body).status_code == 422


def test_the_largest_budget_can_be_stored_and_counted(ada: Any, administrator: Any) -> None:
    body = {"limit": 1e9, "thresholds": [{"at_percent": 1000, "action": "refuse"}]}
    assert administrator.put(path(ada.id), body).status_code == 201
    (found,) = ada.get("/api/v1/me/budgets").json()["items"]
    assert (found["limit"], found["left"]) == (1e9, 1e9)


def test_t36_nobody_sees_or_changes_budgets_of_others(
    ada: Any, administrator: Any, sign_up: Any
) -> None:
    bob = sign_up("bob@example.org")
    theirs = bob.key()["id"]
    group = administrator.post("/api/v1/groups", {"name": "bobs"}).json()["id"]
    administrator.put(f"/api/v1/groups/{group}/members/{bob.id}", None)
    for subject in (bob.id, theirs, group):
        assert administrator.put(path(subject), GOOD).status_code == 201
        assert ada.get(f"/api/v1/budgets/{subject}").status_code == 403
        assert ada.put(path(subject), {"limit": 100}).status_code == 403
        assert ada.delete(path(subject)).status_code == 403
    # Not of themselves either: what an administrator set, its owner cannot raise.
    assert bob.put(path(bob.id), {"limit": 100}).status_code == 403
    assert bob.delete(path(theirs)).status_code == 403
    seen = ada.get("/api/v1/me/budgets")
    assert seen.json()["items"] == []
    for query in (f"?user={bob.id}", f"?subject={group}", "?all=true"):
        assert ada.get(f"/api/v1/me/budgets{query}").text == seen.text


def test_who_leaves_a_group_sees_nothing_of_it_any_more(ada: Any, administrator: Any) -> None:
    group = administrator.post("/api/v1/groups", {"name": "secret"}).json()["id"]
    member = f"/api/v1/groups/{group}/members/{ada.id}"
    administrator.put(path(group), GOOD)
    administrator.put(member, None)
    assert len(ada.get("/api/v1/me/budgets").json()["items"]) == 1
    administrator.delete(member)
    assert ada.get("/api/v1/me/budgets").json()["items"] == []


def test_t105_a_race_for_the_same_budget_makes_one(installation: Any, at_once: Any) -> None:
    ada, root = installation.sign_up(), installation.sign_up("root@example.org")
    _promote(installation, root)
    limits = iter(range(1, 33))
    statuses = at_once(32, lambda: root.put(path(ada.id), {"limit": next(limits)}).status_code)
    assert sorted(statuses) == [200] * 31 + [201]
    assert len(ada.get("/api/v1/me/budgets").json()["items"]) == 1


def test_a_budget_set_while_its_subject_goes_leaves_nothing_behind(
    installation: Any, at_once: Any
) -> None:
    root = installation.sign_up("root@example.org")
    _promote(installation, root)
    for number in range(4):
        group = root.post("/api/v1/groups", {"name": f"g{number}"}).json()["id"]
        calls = iter(["DELETE", *["PUT"] * 7])

        def call(group: str = group, calls: Iterator[str] = calls) -> int:
            if next(calls) == "DELETE":
                return int(root.delete(f"/api/v1/groups/{group}").status_code)
            return int(root.put(path(group), GOOD).status_code)

        statuses = set(at_once(8, call))
        assert statuses <= {200, 201, 204, 404}
    assert root.get("/api/v1/budgets").json()["items"] == []


def test_names_in_mail_are_one_line(installation: Any, usage_event: Any) -> None:
    ada = installation.sign_up()
    for name in ("a\nBcc: eve@example.org", "a\r\n\r\nb", "a\x00"):
        answer = ada.post("/api/v1/keys", {"name": name})
        assert answer.status_code == 422
    name = "{token} {url.__class__} %s é\u2028x"
    budget = {"amount": 1e-9, "period": "day"}
    key = ada.post("/api/v1/keys", {"name": name, "budget": budget}).json()["id"]
    event = usage_event(ada.id, credential=key)
    installation.internal.post("/internal/v1/events", json={"events": [event]})
    with installation.platform.database.sessions.begin() as session:
        (mail,) = outbox.due(session, now=installation.platform.clock())
        message = prepare(
            session,
            mail,
            url="https://x.example",
            sealing=installation.platform.sealing,
            now=installation.platform.clock(),
        )
    assert message is not None
    assert message.to == ada.email
    assert "Your API key '{token} {url.__class__} %s é\\u2028x' has spent" in message.text


def _promote(installation: Any, account: Any) -> None:
    with installation.platform.database.sessions.begin() as session:
        session.get_one(User, account.id).role = Role.ADMINISTRATOR
