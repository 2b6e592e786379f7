"""`client.admin.access`, `client.admin.requests`: who may call what, and who asks for more."""

from typing import IO

from dormouse.administration import Access, Request
from dormouse.answers import Page, build_page
from dormouse.calls import Call
from dormouse.transport import Transport


class AccessReview:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        user: str | None = None,
        service: str | None = None,
        unused_days: int | None = None,
        after: str | None = None,
    ) -> Page[Access]:
        """One row for each right of each user."""
        query = {"user": user, "service": service, "unused_days": unused_days, "after": after}
        found = self._transport.send(Call("GET", "/api/v1/access", query=query)).data
        turn = lambda cursor: self.list(  # noqa: E731 - shorter than a def
            user=user, service=service, unused_days=unused_days, after=cursor
        )
        return build_page(Access, found, turn=turn)

    def csv(
        self,
        file: IO[bytes],
        *,
        user: str | None = None,
        service: str | None = None,
        unused_days: int | None = None,
    ) -> None:
        """All rows, written to `file`."""
        query = {"user": user, "service": service, "unused_days": unused_days, "format": "csv"}
        self._transport.save(Call("GET", "/api/v1/access", query=query), file)


class Requests:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, after: str | None = None) -> Page[Request]:
        """Accounts and entitlements that wait for a decision, oldest first."""
        call = Call("GET", "/api/v1/approvals", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Request, self._transport.send(call).data, turn=turn)
