"""What the matrix needs to know of operations beside their OpenAPI document.

OBJECTS: for each path parameter how to make something that it may name. BODIES: for each operation
that takes a body one that is accepted. A new operation needs an entry here, or its test says so.
"""

import base64
import hmac
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from attacks.people import People, Person
from dormouse_control.identity.models import Role
from dormouse_control.naming import new_id
from dormouse_control.oidc.models import OidcIdentity
from fixtures.control_plane import PASSWORD

Values = dict[str, str]


@dataclass(frozen=True)
class Making:
    """For whom an object is made; `values` has the path's parameters before it."""

    people: People
    owner: Person
    values: Values = field(default_factory=dict)

    def at(self, path: str) -> str:
        return self.values[path]


@dataclass(frozen=True)
class Thing:
    """`mine`: to others it is as if it did not exist. `child`: outside of the parent before it too.
    `shared`: whoever may do this at all may do it to each. `made up`: there is none here.
    """

    kind: Literal["mine", "child", "shared", "made up"]
    make: Callable[[Making], str]


def _key(making: Making) -> str:
    made: str = making.owner.made("POST", "/api/v1/keys", {"name": "x"})["id"]
    return made


def _session(making: Making) -> str:
    token = making.people.again(making.owner).access_token
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    found: str = claims["sid"]
    return found


def _right(making: Making) -> str:
    making.owner.made("POST", "/api/v1/entitlements", {"service": "chat"})
    return "chat"


def _model(making: Making) -> str:
    _right(making)  # a narrowed key sees only what its owner may call
    return "small"


def _identity(making: Making) -> str:
    row = OidcIdentity(
        id=new_id("oid"),
        provider="x",
        issuer="https://x.example",
        subject=new_id("oid"),
        user_id=making.owner.id,
        created_at=making.people.clock.time,
    )
    with making.people.platform.database.sessions.begin() as session:
        session.add(row)
        return row.id


def _user(making: Making) -> str:
    person = making.people.new()
    making.people.known[person.id] = person
    return person.id


def _key_of_user(making: Making) -> str:
    owner = making.people.known[making.at("/api/v1/users/{id}")]
    return _key(Making(making.people, owner))


def _request_of_user(making: Making) -> str:
    owner = making.people.known[making.at("/api/v1/users/{id}")]
    owner.made("POST", "/api/v1/entitlements", {"service": "draw"})
    return "draw"


def _tier(making: Making) -> str:
    name = f"tier-{new_id('grp')[-8:]}"
    making.people.root.made("PUT", f"/api/v1/tiers/{name}", {"title": "x"})
    return name


def _group(making: Making) -> str:
    made: str = making.people.root.made("POST", "/api/v1/groups", {"name": new_id("grp")})["id"]
    return made


def _member(making: Making) -> str:
    user = _user(making)
    group = making.at("/api/v1/groups/{id}")
    making.people.root.made("PUT", f"/api/v1/groups/{group}/members/{user}")
    return user


def _right_of_group(making: Making) -> str:
    group = making.at("/api/v1/groups/{id}")
    making.people.root.made("PUT", f"/api/v1/groups/{group}/entitlements/draw", {})
    return "draw"


def _budget(making: Making) -> str:
    subject = making.at("/api/v1/budgets/{subject}")
    making.people.root.made("PUT", f"/api/v1/budgets/{subject}/day", {"limit": 5})
    return "day"


def _invitation(making: Making) -> str:
    made: str = making.people.root.made("POST", "/api/v1/invitations", {})["id"]
    return made


def _code(making: Making) -> dict[str, str]:
    """Begins a second factor; the code that confirms it (RFC 6238)."""
    begun = making.owner.made("POST", "/api/v1/me/second-factor", {"password": PASSWORD})
    secret = begun["secret"]
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    step = int(making.people.clock.time.timestamp()) // 30
    mac = hmac.digest(key, struct.pack(">Q", step), "sha1")
    number = struct.unpack(">I", mac[mac[-1] & 15 :][:4])[0] & 0x7FFFFFFF
    return {"code": f"{number % 10**6:06}"}


def _recovery_code(making: Making) -> dict[str, str]:
    confirmed = making.owner.made("POST", "/api/v1/me/second-factor/confirm", _code(making))
    return {"password": PASSWORD, "code": confirmed["recovery_codes"][0]}


def _request(making: Making) -> str:
    """By a key that is narrowed, which sees only its own."""
    reply = making.people.call(
        "POST",
        "/v1/chat/completions",
        bearer=making.owner.narrow_key,
        headers=MODEL,
        json=_question(making),
    )
    assert reply.status == 202, reply.text
    return str(reply.body["id"])


def _question(making: Making) -> dict[str, Any]:
    _right(making)
    return {"model": "small", "messages": [{"role": "user", "content": "x"}]}


MODEL = [("x-dormouse-model", "small")]
"""What the gateway says of such a call."""

OBJECTS: dict[str, Thing] = {
    "/api/v1/requests/{id}": Thing("mine", _request),
    "/api/v1/keys/{id}": Thing("mine", _key),
    "/api/v1/sessions/{id}": Thing("mine", _session),
    "/api/v1/entitlements/{service}": Thing("mine", _right),
    "/api/v1/me/identities/{id}": Thing("mine", _identity),
    "/api/v1/services/{id}": Thing("shared", _right),
    "/v1/models/{id}": Thing("shared", _model),
    "/api/v1/users/{id}": Thing("shared", _user),
    "/api/v1/users/{id}/keys/{key}": Thing("child", _key_of_user),
    "/api/v1/users/{id}/entitlements/{service}": Thing("shared", _request_of_user),
    "/api/v1/tiers/{id}": Thing("shared", _tier),
    "/api/v1/groups/{id}": Thing("shared", _group),
    "/api/v1/groups/{id}/members/{user}": Thing("shared", _member),
    "/api/v1/groups/{id}/entitlements/{service}": Thing("shared", _right_of_group),
    "/api/v1/budgets/{subject}": Thing("shared", _user),
    "/api/v1/budgets/{subject}/{period}": Thing("shared", _budget),
    "/api/v1/invitations/{id}": Thing("shared", _invitation),
    "/api/v1/me/identities/{provider}": Thing("made up", lambda _: "nobody"),
    "/api/v1/providers/{name}": Thing("made up", lambda _: "nobody"),
}

Body = Any | Callable[[Making], Any]  # JSON, or what makes it

BODIES: dict[str, Body] = {
    "POST:/v1/chat/completions": _question,
    "POST:/v1/completions": _question,
    "POST:/v1/embeddings": _question,
    "POST:/api/v1/keys": {"name": "x"},
    "PATCH:/api/v1/keys/{id}": {"name": "y"},
    "POST:/api/v1/entitlements": {"service": "chat"},
    "PUT:/api/v1/me/password": {"current": PASSWORD, "new": "another horse battery"},
    "POST:/api/v1/me/second-factor": {"password": PASSWORD},
    "POST:/api/v1/me/second-factor/confirm": _code,
    "POST:/api/v1/me/second-factor/remove": _recovery_code,
    "POST:/api/v1/me/erase": {"password": PASSWORD},
    "PATCH:/api/v1/users/{id}": {"role": Role.OPERATOR.value},
    "PUT:/api/v1/users/{id}/entitlements/{service}": {},
    "POST:/api/v1/users/{id}/entitlements/{service}/refuse": {"reason": "x"},
    "POST:/api/v1/groups": lambda _: {"name": new_id("grp")},
    "PATCH:/api/v1/groups/{id}": lambda _: {"name": new_id("grp")},
    "PUT:/api/v1/groups/{id}/entitlements/{service}": {},
    "PUT:/api/v1/tiers/{id}": {"title": "x"},
    "PUT:/api/v1/budgets/{subject}/{period}": {"limit": 7},
    "POST:/api/v1/invitations": {},
    "POST:/api/v1/me/identities/{provider}": {
        "challenge": "x" * 43,
        "redirect": "http://127.0.0.1:5000/",
    },
}

QUERIES: dict[str, str] = {}
"""What an operation needs in its query to be accepted."""

HEADERS: dict[str, list[tuple[str, str]]] = {
    f"POST:/v1/{endpoint}": MODEL for endpoint in ("chat/completions", "completions", "embeddings")
}
"""What the gateway adds to it."""

REFUSED: dict[str, set[int]] = {
    "POST:/v1/embeddings": {400, 403},  # no model here answers it, nor is the narrow key for it
}
"""Operations that nothing here can make succeed, and how they answer to who may perform them."""
