"""`client.keys`: API keys of your own. They need a session: a key cannot make keys."""

from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport
from dormouse.types import Key


class Keys:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str) -> Key:
        """A new key; its `key` is shown this once."""
        call = Call("POST", "/api/v1/keys", body={"name": name})
        return build(Key, self._transport.send(call).data)

    def list(self, *, after: str | None = None) -> Page[Key]:
        call = Call("GET", "/api/v1/keys", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Key, self._transport.send(call).data, turn=turn)

    def delete(self, id: str) -> None:
        """From now on the key opens nothing."""
        self._transport.send(Call("DELETE", f"/api/v1/keys/{segment(id)}"))
