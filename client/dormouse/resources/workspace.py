"""`client.workspace`: all that is yours, to look at, to take along, and to erase."""

from typing import IO

from dormouse import administration
from dormouse.answers import build
from dormouse.calls import Call
from dormouse.transport import Transport


class Workspace:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> administration.Workspace:
        call = Call("GET", "/api/v1/workspace")
        return build(administration.Workspace, self._transport.send(call).data)

    def export(self, file: IO[bytes]) -> None:
        """All that is stored about you, as a ZIP archive written to `file`. Needs a session."""
        self._transport.save(Call("GET", "/api/v1/me/export"), file)

    def erase(self, *, password: str | None = None, code: str | None = None) -> None:
        """Erase your account for good. `code` is of the second factor, if you have one."""
        body = {"password": password, "code": code}
        self._transport.send(Call("POST", "/api/v1/me/erase", body=body))
