"""`client.keys`: API keys of your own. They need a session: a key cannot make keys."""

from datetime import datetime
from typing import Any, Unpack  # Any: a limit as it is sent

from dormouse.accounts import Key, KeyLimits
from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport


class Keys:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, **limits: Unpack[KeyLimits]) -> Key:
        """A new key; its `key` is shown this once."""
        body = {"name": name, **_sent(limits)}
        call = Call("POST", "/api/v1/keys", body=body, repeatable=True)
        return build(Key, self._transport.send(call).data)

    def list(self, *, after: str | None = None) -> Page[Key]:
        call = Call("GET", "/api/v1/keys", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Key, self._transport.send(call).data, turn=turn)

    def change(self, id: str, *, name: str | None = None, **limits: Unpack[KeyLimits]) -> Key:
        """Only what is given changes; a limit given as None is taken away."""
        body = _sent(limits) | ({} if name is None else {"name": name})
        call = Call("PATCH", f"/api/v1/keys/{segment(id)}", body=body)
        return build(Key, self._transport.send(call).data)

    def delete(self, id: str) -> None:
        """From now on the key opens nothing."""
        self._transport.send(Call("DELETE", f"/api/v1/keys/{segment(id)}"))


def _sent(limits: KeyLimits) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in limits.items()
    }
