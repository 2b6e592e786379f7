"""Other people's objects: named in a path, as a child, by a cursor, in a list."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from attacks.objects import BODIES, OBJECTS, Making
from attacks.people import People, Person, nobody
from dormouse.events import UsageEvent, to_cloudevent
from dormouse_control.app import public_app
from dormouse_control.identity.models import Role
from dormouse_control.usage import ingestion
from dormouse_control.wiring import Platform
from fixtures.control_plane import FakeClock
from fixtures.operations import Operation, Reply, operations


@pytest.fixture
def everybody(platform: Platform, clock: FakeClock) -> Iterator[People]:
    found = nobody(platform, clock)
    yield found
    found.call.close()


def _documented(platform: Platform) -> list[Operation]:
    return operations(public_app(platform).openapi())


def _missing(id: str) -> str:
    """As long and of the same form, and nobody's."""
    kind, underscore, rest = id.rpartition("_")
    return f"{kind}_{'0' * len(rest)}" if underscore else "nobodys"


def test_t36_an_object_of_another_user_is_as_if_it_did_not_exist(everybody: People) -> None:
    me, other = everybody.new(), everybody.new()
    tried = 0
    for operation in _documented(everybody.platform):
        owned = [path for path in operation.parameters if OBJECTS[path].kind == "mine"]
        if not owned or operation.role is not Role.USER:
            continue
        (path,) = owned
        theirs = OBJECTS[path].make(Making(everybody, other))
        replies = [
            me(operation.method, operation.filled({path: id}), BODIES.get(operation.id))
            for id in (theirs, _missing(theirs))
        ]
        assert [reply.status for reply in replies] == [404, 404], operation.id
        assert replies[0].text == replies[1].text, operation.id
        # It was really there, and still is.
        kept = other(operation.method, operation.filled({path: theirs}), BODIES.get(operation.id))
        assert kept.status in (200, 204), operation.id
        tried += 1
    assert tried >= 5


def test_t36_a_cursor_of_another_user_is_as_good_as_an_invented_one(everybody: People) -> None:
    users = (everybody.new(), everybody.new())
    for person in users:
        for _ in range(3):
            person.made("POST", "/api/v1/keys", {"name": "x"})
            everybody.again(person)
        _book(everybody.platform, person.id, 3)
    root = everybody.root
    root.made("PUT", "/api/v1/tiers/gold", {"title": "x"})
    second = everybody.new(Role.ADMINISTRATOR)
    tried = 0
    for path, methods in public_app(everybody.platform).openapi()["paths"].items():
        named = {each["name"] for each in methods.get("get", {}).get("parameters", ())}
        if "after" not in named or "{" in path:
            continue
        role = Role(methods["get"]["x-dormouse-rule"]["role"])
        me, other = users if role is Role.USER else (second, root)
        cursor = other("GET", f"{path}?limit=1").body["next"]
        if cursor is None:
            continue
        assert other("GET", f"{path}?limit=1&after={cursor}").status == 200, path
        theirs = me("GET", f"{path}?limit=1&after={cursor}")
        invented = me("GET", f"{path}?limit=1&after={'x' * len(cursor)}")
        assert (theirs.status, theirs.code) == (400, "invalid_cursor"), path
        assert theirs.text == invented.text, path
        tried += 1
    assert tried >= 5


def test_t36_nothing_that_a_user_sends_says_whose_it_is(everybody: People) -> None:
    """No operation for everybody takes an owner from the query or the body."""
    document = public_app(everybody.platform).openapi()
    for operation in _documented(everybody.platform):
        if operation.role not in (None, Role.USER):
            continue
        found = document["paths"][operation.path][operation.method.lower()]
        names = {each["name"] for each in found.get("parameters", ()) if each["in"] == "query"}
        names |= _fields(document, found)
        assert not names & {"user", "user_id", "owner", "account", "id", "role", "tier"}, (
            operation.id
        )


def test_t37_a_child_under_another_parent_is_not_found(everybody: People) -> None:
    root = everybody.root
    tried = 0
    for operation in _documented(everybody.platform):
        if len(operation.parameters) < 2 or operation.method == "PUT":
            continue
        parent, child = operation.parameters
        pairs = []
        for number in range(2):
            making = Making(everybody, root)
            values = {parent: OBJECTS[parent].make(making)}
            if number == 0 or not child.endswith(("{service}", "{period}")):
                values[child] = OBJECTS[child].make(Making(everybody, root, values))
            pairs.append(values)
        first, second = pairs
        body = BODIES.get(operation.id)

        def call(values: dict[str, str], body: Any = body, op: Operation = operation) -> Reply:
            return root(op.method, op.filled(values), body)

        wrong = [
            {parent: second[parent], child: first[child]},
            {parent: _missing(first[parent]), child: first[child]},
        ]
        if child in second:
            wrong.append({parent: first[parent], child: second[child]})
        for values in wrong:
            missing = {parent: values[parent], child: _missing(values[child])}
            replies = [call(values), call(missing)]
            assert [reply.status for reply in replies] == [404, 404], (operation.id, values)
            assert replies[0].text == replies[1].text, operation.id
        assert call(first).status in (200, 204), operation.id
        tried += 1
    assert tried >= 5


def _fields(document: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    content = operation.get("requestBody", {}).get("content", {})
    name = content.get("application/json", {}).get("schema", {}).get("$ref", "/").rpartition("/")[2]
    return set(document["components"]["schemas"].get(name, {}).get("properties", ()))


def _book(platform: Platform, user: str, count: int) -> None:
    events = [_event(user, f"{user}-{number}") for number in range(count)]
    with platform.database.sessions.begin() as session:
        ingestion.book(session, events, catalog=platform.catalog, now=platform.clock())


def _event(user: str, request_id: str, service: str = "chat") -> dict[str, Any]:
    return to_cloudevent(
        UsageEvent(
            request_id=request_id,
            time="2030-01-01T00:00:00Z",
            user=user,
            credential="ses_x",
            service=service,
            model="small",
            endpoint="chat.completions",
            outcome="completed",
            prompt_tokens=1,
            completion_tokens=1,
            duration_ms=1,
        )
    )


# ---- T38: every list is what a model of it says --------------------------------------------------


PERSON = st.integers(0, 2)
SERVICE = st.sampled_from(["chat", "draw"])


class Lists(RuleBasedStateMachine):
    """Three users who come, ask, call and are disabled; what each list must show is known."""

    everybody: People

    def __init__(self) -> None:
        super().__init__()
        self.users: list[Person] = [self.everybody.new() for _ in range(3)]
        self.keys: dict[str, set[str]] = {user.id: set() for user in self.users}
        self.rights: dict[str, dict[str, str]] = {user.id: {} for user in self.users}
        self.calls: dict[str, list[str]] = {user.id: [] for user in self.users}
        self.members: set[str] = set()
        self.number = 0
        root = self.everybody.root
        name = f"group of {self.users[0].id}"
        self.group = root.made("POST", "/api/v1/groups", {"name": name})["id"]

    @rule(who=PERSON)
    def make_key(self, who: int) -> None:
        user = self.users[who]
        self.keys[user.id].add(user.made("POST", "/api/v1/keys", {"name": "k"})["id"])

    @rule(who=PERSON)
    def revoke_key(self, who: int) -> None:
        user = self.users[who]
        if self.keys[user.id]:
            user.made("DELETE", f"/api/v1/keys/{self.keys[user.id].pop()}")

    @rule(who=PERSON, service=SERVICE)
    def ask(self, who: int, service: str) -> None:
        user = self.users[who]
        user.made("POST", "/api/v1/entitlements", {"service": service})
        new = "active" if service == "chat" else "pending"
        self.rights[user.id].setdefault(service, new)

    @rule(who=PERSON, service=SERVICE)
    def grant(self, who: int, service: str) -> None:
        user = self.users[who]
        path = f"/api/v1/users/{user.id}/entitlements/{service}"
        self.everybody.root.made("PUT", path, {})
        self.rights[user.id][service] = "active"

    @rule(who=PERSON, service=SERVICE)
    def take_away(self, who: int, service: str) -> None:
        user = self.users[who]
        path = f"/api/v1/users/{user.id}/entitlements/{service}"
        had = self.rights[user.id].pop(service, None)
        assert self.everybody.root("DELETE", path).status == (204 if had else 404)

    @rule(who=PERSON)
    def call(self, who: int) -> None:
        user = self.users[who]
        self.number += 1
        request_id = f"{user.id}-{self.number}"
        platform = self.everybody.platform
        with platform.database.sessions.begin() as session:
            event = _event(user.id, request_id)
            ingestion.book(session, [event], catalog=platform.catalog, now=platform.clock())
        self.calls[user.id].append(request_id)

    @rule(who=PERSON)
    def join(self, who: int) -> None:
        user = self.users[who]
        self.everybody.root.made("PUT", f"/api/v1/groups/{self.group}/members/{user.id}")
        self.members.add(user.id)

    @invariant()
    def each_sees_their_own_and_nothing_else(self) -> None:
        for user in self.users:
            keys = user.made("GET", "/api/v1/keys?limit=200")["items"]
            assert {key["id"] for key in keys} == self.keys[user.id]
            asked = user.made("GET", "/api/v1/entitlements")["items"]
            assert {each["service"]: each["status"] for each in asked} == self.rights[user.id]
            usage = user.made("GET", "/api/v1/usage?limit=200")
            assert {call["request_id"] for call in usage["items"]} == set(self.calls[user.id])
            assert usage["totals"]["requests"] == len(self.calls[user.id])

    @invariant()
    def the_workspace_counts_ones_own(self) -> None:
        for user in self.users:
            found = user.made("GET", "/api/v1/workspace")
            assert len(found["keys"]) == len(self.keys[user.id])
            assert found["usage"]["all"]["requests"] == len(self.calls[user.id])
            pending = {each["service"] for each in found["requests"]}
            assert pending == {
                name for name, state in self.rights[user.id].items() if state == "pending"
            }

    @invariant()
    def filters_of_the_review_agree(self) -> None:
        root = self.everybody.root
        for user in self.users:
            for query, wanted in (("", ("chat", "draw")), ("&service=draw", ("draw",))):
                rows = root.made("GET", f"/api/v1/access?user={user.id}{query}")["items"]
                assert {row["service"] for row in rows} == {
                    name
                    for name, state in self.rights[user.id].items()
                    if state == "active" and name in wanted
                }
                assert all(row["keys"] == len(self.keys[user.id]) for row in rows)
            found = root.made("GET", f"/api/v1/users?q={user.email}")["items"]
            assert [each["id"] for each in found] == [user.id]

    @invariant()
    def groups_count_and_list_their_members(self) -> None:
        root = self.everybody.root
        assert root.made("GET", f"/api/v1/groups/{self.group}")["members"] == len(self.members)
        listed = root.made("GET", f"/api/v1/groups/{self.group}/members")["items"]
        assert {each["user"] for each in listed} == self.members

    @invariant()
    def what_waits_is_what_was_asked(self) -> None:
        mine = {user.id for user in self.users}
        listed = self.everybody.root.made("GET", "/api/v1/approvals?limit=200")["items"]
        assert {(each["user"], each["service"]) for each in listed if each["user"] in mine} == {
            (user, name)
            for user, rights in self.rights.items()
            for name, state in rights.items()
            if state == "pending"
        }


def test_t38_every_list_count_and_filter_is_what_a_model_says(everybody: People) -> None:
    class Here(Lists):
        pass

    Here.everybody = everybody
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Here,
        settings=settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_t38_a_search_pattern_finds_only_what_it_says(everybody: People) -> None:
    root = everybody.root
    everybody.set(everybody.new().id, email="person_1%@example.org")
    everyone = {each["email"] for each in root.made("GET", "/api/v1/users?limit=200")["items"]}
    for text in ("%", "_", "person1", "PERSON", "@", "'", '"', "\\", "' OR 1=1 --", ".org%"):
        reply = everybody.call(
            "GET", f"/api/v1/users?limit=200&q={_quoted(text)}", bearer=root.access_token
        )
        assert reply.status == 200, text
        found = {each["email"] for each in reply.body["items"]}
        assert found == {email for email in everyone if text.casefold() in email}, text


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
