"""What people with a role do to others, and what ends an account."""

from datetime import datetime, timedelta

from attacks.machine import SERVICES, Pick, World
from attacks.machine_model import Credential, Group, User
from dormouse_control.identity.models import Role
from fixtures.control_plane import PASSWORD

ADMINISTRATOR, OPERATOR = Role.ADMINISTRATOR, Role.OPERATOR


def _target(world: World, pick: Pick) -> tuple[str, User | None]:
    """An id, mostly of a user; and the user if there is one who is not erased."""
    id = pick.user().id if pick.chance(85) else pick.id()
    if id == world.model.users[0].id:
        id = "usr_" + "0" * 26
    user = world.model.user(id)
    return id, None if user is None or user.erased else user


def change_user(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=ADMINISTRATOR)
    id, user = _target(world, pick)
    role, status = pick.of(list(Role)), pick.of(["active", "active", "active", "disabled"])
    body = {"role": role.value, "status": status}
    reply = world.ask(credential, "PATCH", f"/api/v1/users/{id}", role=ADMINISTRATOR, json=body)
    if reply is None:
        return
    if user is None:
        world.expect(reply, 404, "not_found")
    elif (user.role, user.status) != (role, status) and user is credential.user:
        world.expect(reply, 409, "conflict")
    else:
        world.expect(reply, 200)
        if status == "disabled" and user.active:
            world.model.end_sessions(user)
        user.role, user.status = role, status


def end_user_sessions(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=ADMINISTRATOR)
    id, user = _target(world, pick)
    path = f"/api/v1/users/{id}/sessions"
    reply = world.ask(credential, "DELETE", path, role=ADMINISTRATOR)
    if reply is None:
        return
    if user is None:
        world.expect(reply, 404, "not_found")
    else:
        world.expect(reply, 204)
        world.model.end_sessions(user)


def revoke_key_of_user(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=ADMINISTRATOR)
    id, user = _target(world, pick)
    key_id = pick.id()
    path = f"/api/v1/users/{id}/keys/{key_id}"
    reply = world.ask(credential, "DELETE", path, role=ADMINISTRATOR)
    if reply is None:
        return
    keys = [k for k in world.model.keys if k.id == key_id and k.user is user and k.listed]
    if not keys:
        world.expect(reply, 404, "not_found")
    else:
        world.expect(reply, 204)
        keys[0].revoked = True


def erase_user(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=ADMINISTRATOR)
    id, user = _target(world, pick)
    reply = world.ask(credential, "DELETE", f"/api/v1/users/{id}", role=ADMINISTRATOR)
    if reply is None:
        return
    if user is credential.user:
        world.expect(reply, 409, "conflict")
    elif user is None:
        world.expect(reply, 404, "not_found")
    else:
        world.expect(reply, 204)
        world.model.erase(user)


def erase_oneself(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True)
    if credential.user is world.model.users[0]:
        return
    body = {"password": PASSWORD}
    reply = world.ask(credential, "POST", "/api/v1/me/erase", json=body)
    if reply is not None and reply.status != 429:
        world.expect(reply, 204)
        world.model.erase(credential.user)


def grant(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=OPERATOR)
    (id, user), service, end = _target(world, pick), pick.of(SERVICES), _end(world, pick)
    path = f"/api/v1/users/{id}/entitlements/{service}"
    reply = world.ask(credential, "PUT", path, role=OPERATOR, json={"expires_at": _text(end)})
    if reply is None:
        return
    if user is None:
        world.expect(reply, 404, "not_found")
    elif _may_not_decide(credential, user) or (
        credential.user.role is not ADMINISTRATOR and _status(user, service) != "pending"
    ):
        world.expect(reply, 403, "forbidden")
    else:
        world.expect(reply, 200)
        user.own[service] = ("active", end)


def refuse(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=OPERATOR)
    (id, user), service = _target(world, pick), pick.of(SERVICES)
    path = f"/api/v1/users/{id}/entitlements/{service}/refuse"
    reply = world.ask(credential, "POST", path, role=OPERATOR, json={})
    if reply is None:
        return
    if user is None:
        world.expect(reply, 404, "not_found")
    elif _may_not_decide(credential, user):
        world.expect(reply, 403, "forbidden")
    elif _status(user, service) != "pending":
        world.expect(reply, 404, "not_found")
    else:
        world.expect(reply, 200)
        user.own[service] = ("refused", None)


def take_away(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=ADMINISTRATOR)
    (id, user), service = _target(world, pick), pick.of(SERVICES)
    path = f"/api/v1/users/{id}/entitlements/{service}"
    reply = world.ask(credential, "DELETE", path, role=ADMINISTRATOR)
    if reply is None:
        return
    gone = user.own.pop(service, None) if user else None
    world.expect(reply, 204 if gone else 404)


def make_group(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=ADMINISTRATOR)
    name = f"group {pick.random.randrange(8)}"
    body = {"name": name}
    reply = world.ask(credential, "POST", "/api/v1/groups", role=ADMINISTRATOR, json=body)
    if reply is None:
        return
    if any(group.name == name and not group.deleted for group in world.model.groups):
        world.expect(reply, 409, "already_exists")
    else:
        world.expect(reply, 201)
        world.model.groups.append(Group(reply.body["id"], name))


def change_group(world: World, pick: Pick) -> None:
    """Deletes it, or changes its members or rights."""
    credential = pick.credential(session=True, role=ADMINISTRATOR)
    groups = [group.id for group in world.model.groups]
    id = pick.of(groups) if groups and pick.chance(90) else pick.id()
    group = world.model.group(id)
    _change = pick.of([_delete_group, _member, _member, _member, _group_right, _group_right])
    _change(world, pick, credential, f"/api/v1/groups/{id}", group)


def _delete_group(
    world: World, pick: Pick, credential: Credential, path: str, group: Group | None
) -> None:
    if pick.chance(60):
        return
    reply = world.ask(credential, "DELETE", path, role=ADMINISTRATOR)
    if reply is not None:
        world.expect(reply, 204 if group else 404)
        if group:
            group.deleted = True


def _member(
    world: World, pick: Pick, credential: Credential, path: str, group: Group | None
) -> None:
    (id, user), method = _target(world, pick), pick.of(["PUT", "PUT", "DELETE"])
    reply = world.ask(credential, method, f"{path}/members/{id}", role=ADMINISTRATOR)
    if reply is None:
        return
    there = group is not None and id in group.members
    if group is None or user is None or (method == "DELETE" and not there):
        world.expect(reply, 404, "not_found")
    else:
        world.expect(reply, 204)
        (group.members.add if method == "PUT" else group.members.discard)(id)


def _group_right(
    world: World, pick: Pick, credential: Credential, path: str, group: Group | None
) -> None:
    service, end, method = pick.of(SERVICES), _end(world, pick), pick.of(["PUT", "PUT", "DELETE"])
    body = {"expires_at": _text(end)} if method == "PUT" else None
    path = f"{path}/entitlements/{service}"
    reply = world.ask(credential, method, path, role=ADMINISTRATOR, json=body)
    if reply is None:
        return
    if group is None or (method == "DELETE" and service not in group.rights):
        world.expect(reply, 404, "not_found")
    elif method == "PUT":
        world.expect(reply, 200)
        group.rights[service] = end
    else:
        world.expect(reply, 204)
        del group.rights[service]


def _may_not_decide(credential: Credential, user: User) -> bool:
    return credential.user.role is not ADMINISTRATOR and user is credential.user


def _status(user: User, service: str) -> str | None:
    return user.own.get(service, (None, None))[0]


def _end(world: World, pick: Pick) -> datetime | None:
    return pick.of([None, world.model.now + timedelta(minutes=pick.of([3, 60, 6000]))])


def _text(end: datetime | None) -> str | None:
    return end.isoformat() if end else None
