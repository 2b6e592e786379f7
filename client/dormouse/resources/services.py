"""`client.services`: what there is to call, and whether it is awake."""

from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport
from dormouse.types import Service


class Services:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, after: str | None = None) -> Page[Service]:
        call = Call("GET", "/api/v1/services", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Service, self._transport.send(call).data, turn=turn)

    def get(self, id: str) -> Service:
        call = Call("GET", f"/api/v1/services/{segment(id)}")
        return build(Service, self._transport.send(call).data)
