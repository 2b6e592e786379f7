"""The audit log over HTTP: for administrators, searched and proved."""

from typing import Any

import structlog

from dormouse_control import housekeeping


def search(administrator: Any, **query: Any) -> Any:
    answer = administrator.get("/api/v1/audit", params={"limit": 200, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_only_administrators_read_it(ada: Any, administrator: Any) -> None:
    for path in ("/api/v1/audit", "/api/v1/audit/verification"):
        assert ada.get(path).status_code == 403
        assert administrator.get(path).status_code == 200


def test_an_entry_says_who_did_what_to_what(ada: Any, administrator: Any) -> None:
    headers = {"authorization": f"Bearer {ada.access_token}", "x-request-id": "req-1"}
    headers["x-envoy-external-address"] = "203.0.113.9"
    key = ada.client.post("/api/v1/keys", json={"name": "x"}, headers=headers).json()
    [entry] = search(administrator, action="key.create")

    assert entry["actor"] == ada.id
    assert entry["credential"].startswith("ses_")
    assert (entry["address"], entry["request_id"]) == ("203.0.113.9", "req-1")
    assert (entry["subject"], entry["outcome"]) == (key["id"], "done")
    assert isinstance(entry["details"], dict)


def test_it_is_searched_by_every_column_that_matters(
    ada: Any, sign_up: Any, administrator: Any, clock: Any
) -> None:
    bob = sign_up("bob@example.org")
    first = ada.key()["id"]
    clock.advance(minutes=5)
    second = bob.key()["id"]
    ada.delete(f"/api/v1/keys/{first}")
    bob.get("/api/v1/audit")

    found = lambda **query: [  # noqa: E731
        (each["action"], each["subject"]) for each in search(administrator, **query)
    ]
    assert found(actor=ada.id, action="key") == [("key.revoke", first), ("key.create", first)]
    assert found(subject=second) == [("key.create", second)]
    assert found(outcome="refused") == [("operation.refuse", "list_audit")]
    assert found(action="key.create", since="2030-01-01T00:05:00Z") == [("key.create", second)]
    assert found(action="key.create", until="2030-01-01T00:05:00Z") == [("key.create", first)]
    assert found(action="%") == []
    assert found(action="key_create") == []


def test_what_is_no_filter_is_refused(administrator: Any) -> None:
    for query in ("outcome=x", "since=yesterday", "until=12", "actor=%00", "action=" + "x" * 129):
        assert administrator.get(f"/api/v1/audit?{query}").status_code == 422, query
    for expect in ("1", "x:y", "1:" + "0" * 63, "-1:" + "0" * 64, "1:" + "G" * 64):
        answer = administrator.get("/api/v1/audit/verification", params={"expect": expect})
        assert answer.status_code == 422


def test_a_head_that_was_noted_is_proved_later(ada: Any, administrator: Any) -> None:
    ada.key()
    first = administrator.get("/api/v1/audit/verification").json()
    ada.key()
    head = f"{first['last']['seq']}:{first['last']['hash']}"
    later = administrator.get("/api/v1/audit/verification", params={"expect": head}).json()
    other = administrator.get(
        "/api/v1/audit/verification", params={"expect": f"{first['last']['seq']}:{'0' * 64}"}
    ).json()

    assert first["problem"] is None
    assert later["problem"] is None
    assert later["entries"] == first["entries"] + 1
    assert other["problem"] == f"entry {first['last']['seq']} is not the one that was noted"


def test_the_head_is_noted_in_the_log(ada: Any, administrator: Any, platform: Any) -> None:
    ada.key()
    with structlog.testing.capture_logs() as lines:
        housekeeping.note_audit_head(platform)
    [noted] = [line["head"] for line in lines if line["event"] == "audit_head"]
    proved = administrator.get("/api/v1/audit/verification", params={"expect": noted}).json()

    assert proved["problem"] is None
    assert noted == f"{proved['last']['seq']}:{proved['last']['hash']}"
