"""One operation with credentials in every form: what the matrix is made of."""

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from attacks.objects import BODIES, HEADERS, OBJECTS, QUERIES, REFUSED, Making, Thing, Values
from attacks.people import Cast, People, Person
from dormouse_control import tables
from dormouse_control.identity.models import Role
from dormouse_control.wiring import Platform
from fixtures.operations import Operation, Reply

Send = dict[str, Any]

GOOD_FORMS = ("Bearer", "bearer", "BEARER")


def good_forms(credential: str) -> dict[str, Send]:
    return {form: {"headers": [("authorization", f"{form} {credential}")]} for form in GOOD_FORMS}


def bad_forms(credential: str) -> dict[str, Send]:
    bearer = ("authorization", f"Bearer {credential}")
    return {
        "doubled": {"headers": [bearer, bearer]},
        "with another": {"headers": [bearer, ("authorization", "Basic x")]},
        "joined": {"headers": [("authorization", f"Bearer {credential}, Bearer {credential}")]},
        "Basic": {"headers": [("authorization", f"Basic {credential}")]},
        "bare": {"headers": [("authorization", credential)]},
        "x-api-key": {"headers": [("x-api-key", credential)]},
        "cookie": {"headers": [("cookie", f"authorization=Bearer {credential}")]},
        "query": {"query": f"access_token={credential}"},
        "header and query": {"headers": [bearer], "query": f"api_key={credential}"},
    }


@dataclass
class Trial:
    """One operation among people."""

    operation: Operation
    people: People

    @property
    def cast(self) -> Cast:
        return self.people.casts[self.operation.role or Role.USER]

    def values(self, owner: Person) -> Values:
        found: Values = {}
        for path in self.operation.parameters:
            found[path] = self.thing(path).make(Making(self.people, owner, found))
        return found

    def thing(self, path: str) -> Thing:
        if path not in OBJECTS:
            pytest.fail(f"OBJECTS in tests/attacks/objects.py must say how to make a {path}")
        return OBJECTS[path]

    def send(
        self, values: Values, *, headers: Any = (), query: str = "", owner: Person | None = None
    ) -> Reply:
        path = self.operation.filled(values)
        queries = [part for part in (QUERIES.get(self.operation.id, ""), query) if part]
        body = BODIES.get(self.operation.id, {} if self.operation.takes_body else None)
        if callable(body):  # who is to be refused gets no help
            body = body(Making(self.people, owner, values)) if owner else {}
        return self.people.call(
            self.operation.method,
            f"{path}?{'&'.join(queries)}" if queries else path,
            headers=[*HEADERS.get(self.operation.id, []), *headers],
            json=body,
        )

    def succeeds(self, reply: Reply) -> bool:
        made_up = any(self.thing(path).kind == "made up" for path in self.operation.parameters)
        allowed = {404} if made_up else REFUSED.get(self.operation.id, set())
        if reply.status in (400, 422) and reply.status not in allowed:
            hint = "BODIES or QUERIES in tests/attacks/objects.py must say what it takes"
            pytest.fail(f"{self.operation.id}: {reply.text}; {hint}")
        return 200 <= reply.status < 400 or reply.status in allowed

    def keys(self, owner: Person) -> dict[str, tuple[str, str | None]]:
        """By kind: an API key of the owner, and the code with which it is refused."""
        no_keys = self.operation.keys == "none"
        restricted = "key_restricted" if self.operation.keys == "unrestricted" else None
        return {
            "key": (owner.key, "session_required" if no_keys else None),
            "restricted key": (owner.narrow_key, "session_required" if no_keys else restricted),
        }


def content(platform: Platform) -> dict[str, list[str]]:
    """Every row of every table, but for what changes when somebody is refused too."""
    with platform.database.reads() as reading:
        return {
            table.name: sorted(
                repr(row)
                for row in reading.execute(
                    select(*[c for c in table.columns if c.name != "last_used_at"])
                )
            )
            for table in tables.METADATA.sorted_tables
            if table.name not in ("audit_entry", "epoch")
        }


def secrets(platform: Platform) -> set[str]:
    """What is stored to prove something by: hashes, digests and sealed texts."""
    wanted = [
        column
        for table in tables.METADATA.sorted_tables
        for column in table.columns
        if column.name in ("sha256", "digest") or column.name.endswith(("_hash", "_sealed"))
    ]
    with platform.database.reads() as reading:
        return {
            value
            for column in wanted
            for value in reading.scalars(select(column).where(column.is_not(None)))
        }
