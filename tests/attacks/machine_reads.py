"""What is read, by whomever: an answer is exactly the model's, and nothing of anybody else."""

import hashlib
from collections.abc import Sequence

from attacks.machine import Pick, World
from attacks.machine_model import Credential, Group, Key, Session, User
from dormouse_control.identity.models import Role
from fixtures.operations import Operation, Reply

OPERATOR = Role.OPERATOR


def read_mine(world: World, pick: Pick) -> None:
    own_list(world, pick.credential(), pick.of(world.mine))


def read_user(world: World, pick: Pick) -> None:
    user_of_id(world, pick.credential(session=True, role=pick.of([OPERATOR, Role.USER])), pick.id())


def read_group(world: World, pick: Pick) -> None:
    groups = [group.id for group in world.model.groups]
    id = pick.of(groups) if groups and pick.chance(90) else pick.id()
    group_of_id(world, pick.credential(session=True, role=pick.of([OPERATOR, Role.USER])), id)


def read_users(world: World, pick: Pick) -> None:
    credential = pick.credential(session=True, role=OPERATOR)
    reply = world.ask(credential, "GET", "/api/v1/users?limit=200", role=OPERATOR)
    if reply is None:
        return
    world.expect(reply, 200)
    found = {
        each["id"]: (each["email"], each["role"], each["status"]) for each in reply.body["items"]
    }
    living = [user for user in world.model.users if not user.erased]
    world.same(found, {u.id: (u.email, u.role.value, u.status) for u in living})


def read_principal(world: World, pick: Pick) -> None:
    principal(world, pick.of(world.model.credentials))


def own_list(world: World, credential: Credential, operation: Operation) -> None:
    """One of the operations that show somebody what is theirs."""
    path = operation.path
    more = "?limit=200" if path in _LISTS else ""
    reply = world.ask(credential, "GET", path + more, keys=operation.keys)
    if reply is None:
        return
    world.expect(reply, 200)
    world.leaks_nothing(reply, credential.user)
    expected = _LISTS.get(path)
    if expected is not None:
        expected(world, reply, credential.user)
    if path == "/api/v1/me":
        world.same(reply.body["id"], credential.user.id)
        world.same(reply.body["role"], credential.user.role.value)


def user_of_id(world: World, credential: Credential, id: str) -> None:
    user = world.model.user(id)
    reply = world.ask(credential, "GET", f"/api/v1/users/{id}", role=OPERATOR)
    if reply is not None:
        world.expect(reply, 200 if user else 404)
        if user:
            email = None if user.erased else user.email
            world.same((reply.body["email"], reply.body["status"]), (email, user.status))
    reply = world.ask(credential, "GET", f"/api/v1/users/{id}/keys?limit=200", role=OPERATOR)
    if reply is not None:
        world.expect(reply, 200 if user and not user.erased else 404)
        if user and not user.erased:
            _keys(world, reply, user)


def group_of_id(world: World, credential: Credential, id: str) -> None:
    group = world.model.group(id)
    reply = world.ask(credential, "GET", f"/api/v1/groups/{id}", role=OPERATOR)
    if reply is not None:
        world.expect(reply, 200 if group else 404)
        if group:
            found = {each["service"] for each in reply.body["entitlements"]}
            world.same((found, reply.body["members"]), (set(group.rights), len(group.members)))
    path = f"/api/v1/groups/{id}/members?limit=200"
    reply = world.ask(credential, "GET", path, role=OPERATOR)
    if reply is not None:
        world.expect(reply, 200 if group else 404)
        if group:
            world.same({each["user"] for each in reply.body["items"]}, group.members)


def principal(world: World, credential: Credential) -> None:
    """What the authorizer is told of a credential; it asks for living access tokens only."""
    if credential.until is not None and credential.until <= world.model.now:
        return
    if isinstance(credential.of, Key):
        digest = hashlib.sha256(credential.bearer.encode()).hexdigest()
        question = {"kind": "key", "sha256": digest}
        valid, allowed = credential.valid(world.model.now), credential.of.services
    else:
        question = {"kind": "session", "user": credential.user.id, "session": credential.of.id}
        valid, allowed = credential.user.active and credential.of.living(world.model.now), None
    reply = world.internal("POST", "/internal/v1/principals", json=question)
    world.expect(reply, 200 if valid else 404)
    if valid:
        rights = world.model.rights(credential.user)
        expected = rights if allowed is None else rights & set(allowed)
        world.same(reply.body["user"], credential.user.id)
        world.same(set(reply.body["entitlements"]), expected)


def foreign_objects(world: World, credential: Credential, id: str) -> None:
    """Writes to what is not theirs: refused, and nothing happens (the model stays as it is)."""
    for method, path, body in (
        ("DELETE", f"/api/v1/keys/{id}", None),
        ("PATCH", f"/api/v1/keys/{id}", {"name": "mine"}),
        ("DELETE", f"/api/v1/sessions/{id}", None),
        ("DELETE", f"/api/v1/me/identities/{id}", None),
    ):
        reply = world.ask(credential, method, path, json=body)
        if reply is not None:
            world.expect(reply, 404, "not_found")


def own_lists(world: World) -> None:
    """What everybody has is what the model says."""
    for credential in _newest(world):
        for operation in world.mine:
            if operation.path in _LISTS:
                own_list(world, credential, operation)


def everything(world: World, most: int) -> None:
    """Every list and object as everybody, with the newest ids of each kind."""
    model = world.model
    kinds: tuple[Sequence[User | Session | Key | Group], ...] = (
        model.users,
        model.sessions,
        model.keys,
        model.groups,
    )
    ids = [each.id for kind in kinds for each in kind[-most:]]
    for credential in _newest(world):
        for operation in world.mine:
            own_list(world, credential, operation)
        if credential.is_key:
            continue
        for id in ids:
            user_of_id(world, credential, id)
            group_of_id(world, credential, id)
            if model.owner.get(id) is not credential.user:
                foreign_objects(world, credential, id)
    for credential in model.credentials:
        principal(world, credential)


def _newest(world: World) -> list[Credential]:
    """Of everybody the newest valid session and key."""
    found: dict[tuple[str, bool], Credential] = {}
    for credential in world.model.credentials:
        if credential.valid(world.model.now):
            found[credential.user.id, credential.is_key] = credential
    return list(found.values())


def _keys(world: World, reply: Reply, user: User) -> None:
    world.same({each["id"] for each in reply.body["items"]}, world.model.listed_keys(user))


def _sessions(world: World, reply: Reply, user: User) -> None:
    world.same({each["id"] for each in reply.body["items"]}, world.model.living_sessions(user))


def _entitlements(world: World, reply: Reply, user: User) -> None:
    found = [(each["service"], each["status"], each["group"]) for each in reply.body["items"]]
    world.same(found, world.model.entitlements(user))


_LISTS = {
    "/api/v1/keys": _keys,
    "/api/v1/sessions": _sessions,
    "/api/v1/entitlements": _entitlements,
}
