"""`client.admin.users`: other people's accounts, keys and entitlements."""

from dormouse.accounts import Key
from dormouse.administration import Decision, User
from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.errors import DormouseError
from dormouse.transport import Transport


class NoSuchUser(DormouseError):
    code = "not_found"


class Users:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        status: str | None = None,
        role: str | None = None,
        tier: str | None = None,
        q: str | None = None,
        after: str | None = None,
    ) -> Page[User]:
        """Newest first; `q` is any part of the e-mail address."""
        query = {"status": status, "role": role, "tier": tier, "q": q, "after": after}
        found = self._transport.send(Call("GET", "/api/v1/users", query=query)).data
        turn = lambda cursor: self.list(  # noqa: E731 - shorter than a def
            status=status, role=role, tier=tier, q=q, after=cursor
        )
        return build_page(User, found, turn=turn)

    def get(self, id: str) -> User:
        return build(User, self._transport.send(Call("GET", _path(id))).data)

    def find(self, name: str) -> User:
        """By id or e-mail address. Raises `NoSuchUser`, or `NotFoundError` for an id."""
        if "@" not in name:
            return self.get(name)
        for user in self.list(q=name):
            if user.email is not None and user.email.casefold() == name.casefold():
                return user
        raise NoSuchUser(f"there is no user with the address {name}")

    def change(
        self,
        id: str,
        *,
        role: str | None = None,
        tier: str | None = None,
        status: str | None = None,
    ) -> User:
        """Only what is given changes; `status` may become "active" or "disabled"."""
        wanted = {"role": role, "tier": tier, "status": status}
        body = {name: value for name, value in wanted.items() if value is not None}
        return build(User, self._transport.send(Call("PATCH", _path(id), body=body)).data)

    def delete(self, id: str) -> None:
        """Erase the user for good."""
        self._transport.send(Call("DELETE", _path(id)))

    def end_sessions(self, id: str) -> None:
        self._transport.send(Call("DELETE", f"{_path(id)}/sessions"))

    def remove_second_factor(self, id: str) -> None:
        """For who lost phone and recovery codes. Ends the user's sessions."""
        self._transport.send(Call("DELETE", f"{_path(id)}/second-factor"))

    def forget_attempts(self, id: str) -> None:
        """Let the user sign in at once, however often somebody failed to."""
        self._transport.send(Call("DELETE", f"{_path(id)}/attempts"))

    def keys(self, id: str, *, after: str | None = None) -> Page[Key]:
        call = Call("GET", f"{_path(id)}/keys", query={"after": after})
        turn = lambda cursor: self.keys(id, after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Key, self._transport.send(call).data, turn=turn)

    def revoke_key(self, id: str, key: str) -> None:
        self._transport.send(Call("DELETE", f"{_path(id)}/keys/{segment(key)}"))

    def grant(
        self,
        id: str,
        service: str,
        *,
        expires_at: str | None = None,
        reason: str | None = None,
    ) -> Decision:
        """Also approves what the user asked for."""
        body = {"expires_at": expires_at, "reason": reason}
        call = Call("PUT", _right(id, service), body=body, repeatable=True)
        return build(Decision, self._transport.send(call).data)

    def refuse(self, id: str, service: str, *, reason: str | None = None) -> Decision:
        path, body = f"{_right(id, service)}/refuse", {"reason": reason}
        call = Call("POST", path, body=body, repeatable=True)
        return build(Decision, self._transport.send(call).data)

    def take_away(self, id: str, service: str, *, reason: str | None = None) -> None:
        """At once: calls that run on the service end too."""
        self._transport.send(Call("DELETE", _right(id, service), query={"reason": reason}))


def _path(id: str) -> str:
    return f"/api/v1/users/{segment(id)}"


def _right(id: str, service: str) -> str:
    return f"{_path(id)}/entitlements/{segment(service)}"
