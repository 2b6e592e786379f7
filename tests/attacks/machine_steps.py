"""What can happen: each function does one thing to the platform and to the model.

Every choice is somebody's with any credential, upon anything that there ever was.
"""

from datetime import datetime, timedelta
from typing import Any

from attacks.machine import EMAILS, SERVICES, Pick, World
from attacks.machine_model import ACCESS, LOST_REPLY, MOST_KEYS, Credential, Key, Session
from fixtures.control_plane import PASSWORD


def register(world: World, pick: Pick) -> None:
    email = pick.of(EMAILS)
    if world.model.by_email(email) is None:
        world.registered(email)
        return
    body = {"email": email, "password": PASSWORD}
    world.expect(world.call("POST", "/api/v1/registrations", json=body), 409, "email_taken")


def sign_in(world: World, pick: Pick) -> None:
    user = world.model.by_email(pick.of(EMAILS))
    if user is not None and user.active:
        world.signed_in(user)


def sign_in_wrongly(world: World, pick: Pick) -> None:
    email = pick.of(EMAILS)
    user = world.model.by_email(email)
    right = user is not None and not user.active
    body = {"email": email, "password": PASSWORD if right else "wrong horse battery"}
    reply = world.call("POST", "/api/v1/sessions", json=body)
    if reply.status not in (401, 403, 429):
        world.expect(reply, 401)


def refresh(world: World, pick: Pick) -> None:
    session = pick.of(world.model.sessions)
    back = pick.of([1, 1, 1, 2, 3])
    if back > len(session.refresh):
        return
    now = world.model.now
    body = {"refresh_token": session.refresh[-back]}
    reply = world.call("POST", "/api/v1/sessions/refresh", json=body)
    if not session.living(now) or not session.user.active:
        world.expect(reply, 401)
    elif back == 1 or (back == 2 and now - session.used <= LOST_REPLY):
        world.expect(reply, 200)
        if back == 1:
            session.refresh.append(reply.body["refresh_token"])
            session.used = now
        world.same(reply.body["refresh_token"], session.refresh[-1])
        found = Credential(reply.body["access_token"], session, now + ACCESS)
        world.model.credentials.append(found)
    else:
        world.expect(reply, 401)
        session.revoked = True


def sign_out(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True)
    if world.model.users[0] is credential.user and pick.chance(90):
        return
    reply = world.ask(credential, "DELETE", "/api/v1/sessions/current")
    if reply is not None:
        world.expect(reply, 204)
        _session(credential).revoked = True


def end_others(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True)
    reply = world.ask(credential, "DELETE", "/api/v1/sessions/others")
    if reply is not None:
        world.expect(reply, 204)
        world.model.end_sessions(credential.user, but=_session(credential))


def end_session(world: World, pick: Pick) -> None:
    credential, id = pick.credential(session=True), pick.id()
    reply = world.ask(credential, "DELETE", f"/api/v1/sessions/{id}")
    if reply is None:
        return
    mine = [s for s in world.model.sessions if s.id == id and s.user is credential.user]
    if mine and mine[0].living(world.model.now):
        world.expect(reply, 204)
        mine[0].revoked = True
    else:
        world.expect(reply, 404, "not_found")


def make_key(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True)
    limits = _limits(world, pick)
    reply = world.ask(credential, "POST", "/api/v1/keys", json={"name": "x", **limits})
    if reply is None:
        return
    if len(world.model.listed_keys(credential.user)) >= MOST_KEYS:
        world.expect(reply, 409, "limit_reached")
    elif not set(limits.get("services") or ()) <= world.model.rights(credential.user):
        world.expect(reply, 403, "forbidden")
    else:
        world.expect(reply, 201)
        made, until = reply.body, limits.get("expires_at")
        world.keyed(
            Key(
                made["id"],
                credential.user,
                made["key"],
                limits.get("services"),
                limits.get("endpoints"),
                datetime.fromisoformat(until) if until else None,
            )
        )


def change_key(world: World, pick: Pick) -> None:
    credential, id = pick.credential(session=True), pick.id()
    limits = _limits(world, pick)
    reply = world.ask(credential, "PATCH", f"/api/v1/keys/{id}", json=limits)
    if reply is None:
        return
    key = _own_key(world, credential, id)
    if key is None:
        world.expect(reply, 404, "not_found")
    elif not set(limits.get("services") or ()) <= world.model.rights(credential.user):
        world.expect(reply, 403, "forbidden")
    else:
        world.expect(reply, 200)
        key.services = limits.get("services", key.services)
        key.endpoints = limits.get("endpoints", key.endpoints)
        if "expires_at" in limits:
            key.until = datetime.fromisoformat(limits["expires_at"])


def revoke_key(world: World, pick: Pick) -> None:
    credential, id = pick.credential(session=True), pick.id()
    reply = world.ask(credential, "DELETE", f"/api/v1/keys/{id}")
    if reply is None:
        return
    key = _own_key(world, credential, id)
    if key is None:
        world.expect(reply, 404, "not_found")
    else:
        world.expect(reply, 204)
        key.revoked = True


def ask_right(world: World, pick: Pick) -> None:
    credential, service = pick.credential(), pick.of(SERVICES)
    body = {"service": service}
    reply = world.ask(credential, "POST", "/api/v1/entitlements", keys="unrestricted", json=body)
    if reply is None:
        return
    own, now = credential.user.own, world.model.now
    status, end = own.get(service, ("none", None))
    over = status in ("none", "refused") or (status == "active" and end is not None and end <= now)
    is_open = service == "chat"
    if over or (is_open and status == "pending"):
        world.expect(reply, 201)
        own[service] = ("active" if is_open else "pending", None)
    else:
        world.expect(reply, 200)


def give_up_right(world: World, pick: Pick) -> None:
    credential, service = pick.credential(), pick.of(SERVICES)
    path = f"/api/v1/entitlements/{service}"
    reply = world.ask(credential, "DELETE", path, keys="unrestricted")
    if reply is None:
        return
    groups = world.model.groups_of(credential.user)
    if credential.user.own.pop(service, None):
        world.expect(reply, 204)
    elif any(service in group.rights for group in groups):
        world.expect(reply, 409, "conflict")
    else:
        world.expect(reply, 404, "not_found")


def passing_time(world: World, pick: Pick) -> None:
    step = pick.of(
        [
            {"seconds": 1},
            {"seconds": 11},
            {"minutes": 5},
            {"minutes": 11},
            {"hours": 7},
            {"days": 3},
        ]
    )
    world.clock.advance(**step)
    world.model.now = world.clock.time


def _limits(world: World, pick: Pick) -> dict[str, Any]:
    until = world.model.now + timedelta(minutes=pick.of([1, 60, 6000]))
    return pick.of(
        [
            {},
            {"endpoints": ["completions", "chat.completions"]},
            {"services": [pick.of(SERVICES)]},
            {"services": None, "endpoints": None},
            {"expires_at": until.isoformat()},
        ]
    )


def _own_key(world: World, credential: Credential, id: str) -> Key | None:
    keys = [k for k in world.model.keys if k.id == id and k.user is credential.user and k.listed]
    return keys[0] if keys else None


def _session(credential: Credential) -> Session:
    assert isinstance(credential.of, Session)
    return credential.of
