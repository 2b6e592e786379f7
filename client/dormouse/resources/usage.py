"""`client.usage`: your calls and what they cost, newest first."""

from dormouse.answers import build
from dormouse.calls import Call
from dormouse.transport import Transport
from dormouse.types import UsagePage


class Usage:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, after: str | None = None) -> UsagePage:
        """A page of `limit` calls; iterating over it reads the following pages too."""
        call = Call("GET", "/api/v1/usage", query={"limit": limit, "after": after})
        turn = lambda cursor: self.list(limit=limit, after=cursor)  # noqa: E731 - shorter
        return build(UsagePage, self._transport.send(call).data, turn=turn)
