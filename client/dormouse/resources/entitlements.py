"""`client.entitlements`: the services that you may call."""

from dormouse.accounts import Entitlement
from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport


class Entitlements:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, service: str, *, reason: str | None = None) -> Entitlement:
        """Ask for a service; `status` is "pending" where somebody has to agree first."""
        body = {"service": service} if reason is None else {"service": service, "reason": reason}
        call = Call("POST", "/api/v1/entitlements", body=body, repeatable=True)
        return build(Entitlement, self._transport.send(call).data)

    def list(self, *, after: str | None = None) -> Page[Entitlement]:
        call = Call("GET", "/api/v1/entitlements", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Entitlement, self._transport.send(call).data, turn=turn)

    def delete(self, service: str) -> None:
        self._transport.send(Call("DELETE", f"/api/v1/entitlements/{segment(service)}"))
