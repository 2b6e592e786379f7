"""`client.invitations`: who may register; for administrators."""

from collections.abc import Sequence

from dormouse.accounts import Invitation
from dormouse.answers import Page, build, build_page
from dormouse.calls import Call, segment
from dormouse.transport import Transport


class Invitations:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        email: str | None = None,
        mail: bool = False,
        tier: str | None = None,
        groups: Sequence[str] | None = None,
        expires_at: str | None = None,
    ) -> Invitation:
        """A new invitation; its `token` is shown this once, or mailed to `email`."""
        wanted = {
            "email": email,
            "mail": mail,
            "tier": tier,
            "groups": list(groups) if groups else None,
            "expires_at": expires_at,
        }
        body = {name: value for name, value in wanted.items() if value is not None}
        call = Call("POST", "/api/v1/invitations", body=body, repeatable=True)
        return build(Invitation, self._transport.send(call).data)

    def list(self, *, after: str | None = None) -> Page[Invitation]:
        call = Call("GET", "/api/v1/invitations", query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(Invitation, self._transport.send(call).data, turn=turn)

    def delete(self, id: str) -> None:
        """Take it back before it is used."""
        self._transport.send(Call("DELETE", f"/api/v1/invitations/{segment(id)}"))
