"""`client.providers`: with whom one can sign in, besides e-mail and password."""

from dormouse.accounts import Provider
from dormouse.answers import Page, build_page
from dormouse.calls import Call
from dormouse.transport import Transport


class Providers:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, after: str | None = None) -> Page[Provider]:
        call = Call("GET", "/api/v1/providers", query={"after": after}, signed=False)
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Provider, self._transport.send(call).data, turn=turn)
