"""The platform and its reference model side by side: whatever one answers the other must too."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

from attacks.machine_model import ACCESS, Credential, Key, Model, Session, User
from dormouse_control.app import internal_app, public_app
from dormouse_control.identity import models as tables
from dormouse_control.identity.models import Role
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD, FakeClock
from fixtures.operations import Direct, Operation, Reply, operations, quick

Item = TypeVar("Item")

EMAILS = [f"person{number}@example.org" for number in range(6)]
SERVICES = ["chat", "draw"]  # open to all, and by approval

_ID = re.compile(r"\b(?:usr|key|ses|oid|inv|ott|grp)_[0-9a-z]{26}\b")
_EMAIL = re.compile(r"[\w.]+@example\.org")


class Mismatch(AssertionError):
    """The platform did something that the model does not."""


@dataclass
class Pick:
    """The choices of one step. The same seed chooses the same from a world that is the same."""

    random: random.Random
    model: Model

    def of(self, items: list[Item]) -> Item:
        return items[self.random.randrange(len(items))]

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def credential(self, *, session: bool = False, role: Role = Role.USER) -> Credential:
        """Mostly one that can do something, else any that there ever was."""
        found = self.model.credentials
        if self.chance(80):
            keys = "none" if session else "any"
            able = [c for c in found if c.refusal(self.model.now, role, keys) is None]
            found = able or found
        return self.of(found)

    def user(self) -> User:
        """Root is never a target: somebody must stay administrator."""
        return self.of(self.model.users[1:] or self.model.users)

    def id(self) -> str:
        """Of anything that there is or was."""
        return self.of(self.model.ids())


class World:
    """Root is an administrator from the beginning and for ever."""

    def __init__(self, platform: Platform, clock: FakeClock) -> None:
        self.platform, self.clock = quick(platform), clock
        public = public_app(self.platform)
        self.call = Direct(public)
        self.internal = Direct(internal_app(self.platform))
        self.mine: list[Operation] = [
            each
            for each in operations(public.openapi())
            if each.method == "GET" and each.role is Role.USER and not each.parameters
        ]
        self.model = Model(clock.time)
        self.answers: Counter[str] = Counter()
        root = self.registered("root@example.org")
        with self.platform.database.sessions.begin() as session:
            session.get_one(tables.User, root.id).role = Role.ADMINISTRATOR
        root.role = Role.ADMINISTRATOR
        self.signed_in(root)

    def close(self) -> None:
        self.call.close()
        self.internal.close()

    def registered(self, email: str) -> User:
        reply = self.call("POST", "/api/v1/registrations", json=_proof(email))
        self.expect(reply, 201)
        user = User(reply.body["id"], email)
        if self.model.user(user.id):
            raise Mismatch("an id was given twice")
        self.model.users.append(user)
        self.model.owner[user.id] = user
        return user

    def signed_in(self, user: User) -> None:
        reply = self.call("POST", "/api/v1/sessions", json=_proof(user.email))
        if reply.status != 429:
            self.expect(reply, 201)
            self.opened(user, reply.body)

    def opened(self, user: User, pair: Any) -> None:
        now = self.model.now
        known = {session.id for session in self.model.sessions}
        reply = self.call("GET", "/api/v1/sessions?limit=200", bearer=pair["access_token"])
        (id,) = [each["id"] for each in reply.body["items"] if each["current"]]
        if id in known:
            raise Mismatch("a session's id was given twice")
        session = Session(id, user, [pair["refresh_token"]], now, now)
        self.model.sessions.append(session)
        self.model.owner[id] = user
        self.model.credentials.append(Credential(pair["access_token"], session, now + ACCESS))

    def keyed(self, key: Key) -> None:
        self.model.keys.append(key)
        self.model.owner[key.id] = key.user
        self.model.credentials.append(Credential(key.secret, key))

    def ask(
        self,
        credential: Credential,
        method: str,
        path: str,
        *,
        role: Role = Role.USER,
        keys: str = "none",
        json: Any = None,
    ) -> Reply | None:
        """The reply, or None if the credential had to be refused and was."""
        reply = self.call(method, path, bearer=credential.bearer, json=json)
        refusal = credential.refusal(self.model.now, role, keys)
        if refusal is None:
            return reply
        self.expect(reply, *refusal)
        return None

    def expect(self, reply: Reply, status: int, code: str | None = None) -> None:
        if reply.status != status or (code is not None and reply.code != code):
            raise Mismatch(f"{reply.status} {reply.text[:300]}; the model says {status} {code}")
        self.answers[f"{status // 100}xx"] += 1

    def same(self, found: object, expected: object) -> None:
        if found != expected:
            raise Mismatch(f"{found}; the model says {expected}")

    def leaks_nothing(self, reply: Reply, user: User) -> None:
        """Nobody else's id or address stands in an answer to this user."""
        for id in _ID.findall(reply.text):
            owner = self.model.owner.get(id)
            if owner is not user:
                raise Mismatch(f"{user.id} sees {id}, of {owner}")
        for email in _EMAIL.findall(reply.text):
            if email != user.email:
                raise Mismatch(f"{user.email} sees {email}")


def _proof(email: str) -> dict[str, str]:
    return {"email": email, "password": PASSWORD}
