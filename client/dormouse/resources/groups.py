"""`client.admin.groups`: groups of users, and what all members may call."""

from dormouse.administration import Group, GroupEntitlement, Member
from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport


class Groups:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str) -> Group:
        call = Call("POST", "/api/v1/groups", body={"name": name}, repeatable=True)
        return build(Group, self._transport.send(call).data)

    def list(self, *, after: str | None = None) -> Page[Group]:
        call = Call("GET", "/api/v1/groups", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Group, self._transport.send(call).data, turn=turn)

    def get(self, id: str) -> Group:
        return build(Group, self._transport.send(Call("GET", _path(id))).data)

    def rename(self, id: str, name: str) -> Group:
        call = Call("PATCH", _path(id), body={"name": name})
        return build(Group, self._transport.send(call).data)

    def delete(self, id: str) -> None:
        """Its members lose, at once, what they could call by it alone."""
        self._transport.send(Call("DELETE", _path(id)))

    def members(self, id: str, *, after: str | None = None) -> Page[Member]:
        call = Call("GET", f"{_path(id)}/members", query={"after": after})
        turn = lambda cursor: self.members(id, after=cursor)  # noqa: E731 - shorter
        return build_page(Member, self._transport.send(call).data, turn=turn)

    def add_member(self, id: str, user: str) -> None:
        call = Call("PUT", f"{_path(id)}/members/{segment(user)}", repeatable=True)
        self._transport.send(call)

    def remove_member(self, id: str, user: str) -> None:
        self._transport.send(Call("DELETE", f"{_path(id)}/members/{segment(user)}"))

    def grant(
        self,
        id: str,
        service: str,
        *,
        expires_at: str | None = None,
        reason: str | None = None,
    ) -> GroupEntitlement:
        body = {"expires_at": expires_at, "reason": reason}
        path = f"{_path(id)}/entitlements/{segment(service)}"
        call = Call("PUT", path, body=body, repeatable=True)
        return build(GroupEntitlement, self._transport.send(call).data)

    def take_away(self, id: str, service: str) -> None:
        self._transport.send(Call("DELETE", f"{_path(id)}/entitlements/{segment(service)}"))


def _path(id: str) -> str:
    return f"/api/v1/groups/{segment(id)}"
