"""`client.services`: what there is to call; `client.admin.services`: waking it by hand."""

from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport
from dormouse.types import Service, ServiceStatus


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


class ServicesByHand:
    """For operators. All three answer at once, with how the service is then."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def status(self, id: str) -> ServiceStatus:
        return self._send("GET", id, "status")

    def wake(self, id: str) -> ServiceStatus:
        """Wake it without a call, and end quarantines of its models."""
        return self._send("POST", id, "wake")

    def sleep(self, id: str) -> ServiceStatus:
        """Let its predictors end once their calls have; it sleeps until the next call."""
        return self._send("POST", id, "sleep")

    def _send(self, method: str, id: str, what: str) -> ServiceStatus:
        call = Call(method, f"/api/v1/services/{segment(id)}/{what}")
        return build(ServiceStatus, self._transport.send(call).data)
