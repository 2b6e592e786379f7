"""Somebody with every kind of credential that must not work any more, and some that must."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import update

from dormouse.delegation import Delegation, sign_delegation
from dormouse.tokens import InternalClaims, sign, sign_internal
from dormouse_control.app import public_app
from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.keys import load_signing_key
from dormouse_control.naming import new_id
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD, FakeClock
from fixtures.operations import Direct, Reply, quick


@dataclass
class Person:
    call: Direct
    id: str
    email: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    def __call__(self, method: str, path: str, json: Any = None) -> Reply:
        return self.call(method, path, bearer=self.access_token, json=json)

    def made(self, method: str, path: str, json: Any = None) -> Any:
        """The answer's body; what a test needs must be there."""
        reply = self(method, path, json)
        assert 200 <= reply.status < 300, f"{method} {path}: {reply.status} {reply.text}"
        return reply.body

    @cached_property
    def key(self) -> str:
        found: str = self.made("POST", "/api/v1/keys", {"name": "x"})["key"]
        return found

    @cached_property
    def narrow_key(self) -> str:
        limits = {"endpoints": ["chat.completions", "completions"]}
        found: str = self.made("POST", "/api/v1/keys", {"name": "x", **limits})["key"]
        return found


@dataclass
class Cast:
    """Of one role: `me`, `other` with the same role, `lower`, and credentials of `me` and of a
    disabled user that nobody may take, by what is wrong with them.
    """

    me: Person
    other: Person
    lower: Person
    bad: dict[str, str]


@dataclass
class People:
    """Everybody; `known` by id those whom objects were made for. `root` is an administrator."""

    platform: Platform
    clock: FakeClock
    call: Direct
    casts: dict[Role, Cast] = field(default_factory=dict)
    known: dict[str, Person] = field(default_factory=dict)

    @cached_property
    def root(self) -> Person:
        return self.new(Role.ADMINISTRATOR)

    def new(self, role: Role = Role.USER) -> Person:
        """Somebody registered and signed in."""
        email = f"{new_id('usr')}@example.org"
        made = self.call(
            "POST", "/api/v1/registrations", json={"email": email, "password": PASSWORD}
        )
        assert made.status == 201, made.text
        self.set(made.body["id"], role=role)
        return self.signed_in(made.body["id"], email)

    def signed_in(self, id: str, email: str) -> Person:
        body = {"email": email, "password": PASSWORD}
        found = self.call("POST", "/api/v1/sessions", json=body)
        assert found.status == 201, found.text
        return Person(self.call, id, email, found.body["access_token"], found.body["refresh_token"])

    def again(self, person: Person) -> Person:
        return self.signed_in(person.id, person.email)

    def set(self, id: str, **values: Any) -> None:
        with self.platform.database.sessions.begin() as session:
            session.execute(update(User).where(User.id == id).values(**values))


def nobody(platform: Platform, clock: FakeClock) -> People:
    """An installation without people yet; its `call` is to be closed."""
    platform = quick(platform)
    return People(platform, clock, Direct(public_app(platform)))


@contextmanager
def people(platform: Platform, clock: FakeClock) -> Iterator[People]:
    platform = quick(platform)
    found = People(platform, clock, Direct(public_app(platform)))
    try:
        _cast(found)
        yield found
    finally:
        found.call.close()


Bad = dict[str, str]


def _cast(people: People) -> None:
    first = {role: people.new(role) for role in Role}
    bad = {role: _that_will_expire(people, first[role]) for role in Role}
    people.clock.advance(days=40)
    for role in Role:
        bad[role]["access token that expired"] = people.again(first[role]).access_token
    people.clock.advance(minutes=11)
    for role in Role:
        me = people.again(first[role])
        bad[role] |= _taken_back(people, me, role) | _of_wrong_type(people, me)
        people.casts[role] = Cast(me, people.new(role), people.new(_below(role)), bad[role])


def _that_will_expire(people: People, me: Person) -> Bad:
    soon = (people.clock.time + timedelta(days=1)).isoformat()
    key = me.made("POST", "/api/v1/keys", {"name": "x", "expires_at": soon})["key"]
    return {"session that expired": me.access_token, "key that expired": key}


def _taken_back(people: People, me: Person, role: Role) -> Bad:
    ended = people.again(me)
    ended.made("DELETE", "/api/v1/sessions/current")
    revoked = me.made("POST", "/api/v1/keys", {"name": "x"})
    me.made("DELETE", f"/api/v1/keys/{revoked['id']}")
    disabled = people.new(role)
    key = disabled.made("POST", "/api/v1/keys", {"name": "x"})["key"]
    people.set(disabled.id, status=UserStatus.DISABLED)
    return {
        "session that was ended": ended.access_token,
        "key that was revoked": revoked["key"],
        "key of a disabled user": key,
        "session of a disabled user": disabled.access_token,
    }


def _below(role: Role) -> Role:
    order = list(Role)
    return order[max(0, order.index(role) - 1)]


def _of_wrong_type(people: People, me: Person) -> Bad:
    platform, now = people.platform, people.clock.time
    seconds = int(now.timestamp())
    with platform.database.sessions.begin() as session:
        life = timedelta(hours=1)
        proof = tokens.issue(session, TokenKind.RESET_PASSWORD, life=life, now=now, user_id=me.id)
        one_time = tokens.write(proof.id, TokenKind.RESET_PASSWORD.value, platform.sealing)
    folder = platform.settings.keys_folder
    session: str = me.made("GET", "/api/v1/sessions")["items"][0]["id"]
    claims = {"iss": "dormouse", "aud": "dormouse", "sub": me.id, "sid": "ses_1"}
    claims |= {"iat": seconds, "exp": seconds + 300}
    internal = InternalClaims(
        user=me.id,
        credential="ses_1",
        service="chat",
        model="small",
        priority=0,
        expires_at=seconds + 60,
    )
    return {
        "garbage": "garbage",
        "no key": "dm_" + "x" * 43,
        "refresh token": me.refresh_token,
        "one-time token": one_time,
        "id token": sign(claims, typ="JWT", key=load_signing_key(folder, "access")),
        "internal token": sign_internal(
            internal, key=load_signing_key(folder, "internal"), now=seconds
        ),
        "delegation": sign_delegation(
            Delegation(me.id, session, "call", None),
            key=load_signing_key(folder, "delegated"),
            now=seconds,
        ),
    }
