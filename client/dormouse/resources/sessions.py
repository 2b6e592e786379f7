"""`client.sessions`: where you are signed in."""

from dormouse.accounts import SignedIn
from dormouse.answers import Page, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport


class Sessions:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, after: str | None = None) -> Page[SignedIn]:
        call = Call("GET", "/api/v1/sessions", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(SignedIn, self._transport.send(call).data, turn=turn)

    def delete(self, id: str) -> None:
        """End one of them."""
        self._transport.send(Call("DELETE", f"/api/v1/sessions/{segment(id)}"))

    def delete_others(self) -> None:
        """End all but this one."""
        self._transport.send(Call("DELETE", "/api/v1/sessions/others"))
