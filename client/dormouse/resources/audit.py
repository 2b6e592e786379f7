"""`client.audit`: who did what to whose rights; for administrators."""

from dormouse.administration import AuditEntry, AuditVerification
from dormouse.answers import Page, build, build_page
from dormouse.calls import Call
from dormouse.transport import Transport


class Audit:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        actor: str | None = None,
        subject: str | None = None,
        action: str | None = None,
        outcome: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Page[AuditEntry]:
        """Newest first. `action` may be a beginning: "key" finds "key.create" and "key.revoke"."""
        filters = {
            "actor": actor,
            "subject": subject,
            "action": action,
            "outcome": outcome,
            "since": since,
            "until": until,
            "limit": limit,
        }
        return self._page(filters, after)

    def verify(self, *, expect: str | None = None) -> AuditVerification:
        """Whether nobody changed the log. `expect`, SEQ:HASH of an entry noted earlier, proves
        that nothing up to it was taken away either.
        """
        call = Call("GET", "/api/v1/audit/verification", query={"expect": expect})
        return build(AuditVerification, self._transport.send(call).data)

    def _page(self, filters: dict[str, str | int | None], after: str | None) -> Page[AuditEntry]:
        call = Call("GET", "/api/v1/audit", query={**filters, "after": after})
        turn = lambda cursor: self._page(filters, cursor)  # noqa: E731 - shorter than a def
        return build_page(AuditEntry, self._transport.send(call).data, turn=turn)
