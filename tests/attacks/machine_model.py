"""The reference model of accounts: plain data, and what follows from it. Knows no platform."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dormouse_control.identity.models import Role

LIFE = timedelta(days=30)
IDLE = timedelta(days=14)
ACCESS = timedelta(seconds=600)
LOST_REPLY = timedelta(seconds=10)
MOST_KEYS = 100

Refusal = tuple[int, str]


@dataclass(eq=False)
class User:
    id: str
    email: str
    role: Role = Role.USER
    status: str = "active"
    own: dict[str, tuple[str, datetime | None]] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.status == "active"

    @property
    def erased(self) -> bool:
        return self.status == "erased"


@dataclass(eq=False)
class Session:
    id: str
    user: User
    refresh: list[str]
    created: datetime
    used: datetime
    revoked: bool = False

    def living(self, now: datetime) -> bool:
        return (
            not self.revoked
            and not self.user.erased
            and self.created + LIFE > now
            and self.used + IDLE > now
        )


@dataclass(eq=False)
class Key:
    id: str
    user: User
    secret: str
    services: list[str] | None
    endpoints: list[str] | None
    until: datetime | None
    revoked: bool = False

    @property
    def listed(self) -> bool:
        return not self.revoked and not self.user.erased


@dataclass(eq=False)
class Group:
    id: str
    name: str
    members: set[str] = field(default_factory=set)
    rights: dict[str, datetime | None] = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True)
class Credential:
    """What somebody sends, good or not. `until` is the end of an access token."""

    bearer: str
    of: Session | Key
    until: datetime | None = None

    @property
    def user(self) -> User:
        return self.of.user

    @property
    def is_key(self) -> bool:
        return isinstance(self.of, Key)

    def valid(self, now: datetime) -> bool:
        if not self.user.active:
            return False
        if isinstance(self.of, Key):
            return not self.of.revoked and (self.of.until is None or self.of.until > now)
        assert self.until is not None
        end = min(self.until, self.of.created + LIFE)
        return self.of.living(now) and int(end.timestamp()) > now.timestamp()

    def refusal(self, now: datetime, role: Role, keys: str) -> Refusal | None:
        """How an operation with this rule answers; None if it may be performed."""
        if not self.valid(now):
            return (401, "invalid_api_key")
        if not self.user.role.reaches(role):
            return (403, "forbidden")
        if isinstance(self.of, Key):
            if keys == "none":
                return (403, "session_required")
            if keys == "unrestricted" and (self.of.services or self.of.endpoints):
                return (403, "key_restricted")
        return None


@dataclass
class Model:
    """All there is and ever was. `owner` says of each id whose it is."""

    now: datetime
    users: list[User] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    credentials: list[Credential] = field(default_factory=list)
    owner: dict[str, User] = field(default_factory=dict)

    def ids(self) -> list[str]:
        return [each.id for each in (*self.users, *self.sessions, *self.keys, *self.groups)]

    def by_email(self, email: str) -> User | None:
        return next((u for u in self.users if u.email == email and not u.erased), None)

    def user(self, id: str) -> User | None:
        return next((u for u in self.users if u.id == id), None)

    def group(self, id: str) -> Group | None:
        return next((g for g in self.groups if g.id == id and not g.deleted), None)

    def groups_of(self, user: User) -> list[Group]:
        return [g for g in self.groups if user.id in g.members and not g.deleted]

    def rights(self, user: User) -> set[str]:
        own = {s for s, (status, end) in user.own.items() if status == "active" and self._on(end)}
        return own | {
            s for g in self.groups_of(user) for s, end in g.rights.items() if self._on(end)
        }

    def entitlements(self, user: User) -> list[tuple[str, str, str | None]]:
        """Service, status and group, as they are listed."""
        found: list[tuple[str, str, str | None]] = [
            (service, status if status != "active" or self._on(end) else "expired", None)
            for service, (status, end) in user.own.items()
        ]
        for group in self.groups_of(user):
            found += [
                (service, "active" if self._on(end) else "expired", group.name)
                for service, end in group.rights.items()
            ]
        return sorted(found, key=lambda each: (each[0], each[2] is not None, each[2] or ""))

    def living_sessions(self, user: User) -> set[str]:
        return {s.id for s in self.sessions if s.user is user and s.living(self.now)}

    def listed_keys(self, user: User) -> set[str]:
        return {k.id for k in self.keys if k.user is user and k.listed}

    def end_sessions(self, user: User, but: Session | None = None) -> None:
        for session in self.sessions:
            if session.user is user and session is not but:
                session.revoked = True

    def erase(self, user: User) -> None:
        self.end_sessions(user)
        for group in self.groups:
            group.members.discard(user.id)
        for key in self.keys:
            key.revoked = key.revoked or key.user is user
        user.status, user.role = "erased", Role.USER
        user.own.clear()

    def forget_old(self, most: int) -> None:
        """Of what is worth nothing any more only the newest stay, or every step takes longer."""
        dead = [c for c in self.credentials if not c.valid(self.now) and not self._may_return(c)]
        gone = {id(c) for c in dead[:-most]}
        self.credentials = [c for c in self.credentials if id(c) not in gone]
        self.sessions = self._newest(
            self.sessions, [s.living(self.now) for s in self.sessions], most
        )
        self.keys = self._newest(self.keys, [k.listed for k in self.keys], most)
        self.groups = self._newest(self.groups, [not g.deleted for g in self.groups], most)
        self.users = self._newest(self.users, [not u.erased for u in self.users], most)

    def _may_return(self, credential: Credential) -> bool:
        return isinstance(credential.of, Key) and credential.of.listed

    def _newest(self, all_: list[Any], living: list[bool], most: int) -> list[Any]:
        dead = [each for each, lives in zip(all_, living, strict=True) if not lives]
        gone = {id(each) for each in dead[:-most]}
        return [each for each in all_ if id(each) not in gone]

    def _on(self, end: datetime | None) -> bool:
        return end is None or end > self.now
