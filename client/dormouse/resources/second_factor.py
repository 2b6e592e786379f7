"""`client.second_factor`: codes of an authenticator app, asked for beside the password."""

from dormouse.accounts import Enrolment, RecoveryCodes
from dormouse.answers import build
from dormouse.calls import Call
from dormouse.transport import Transport


class SecondFactor:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, password: str) -> Enrolment:
        """A secret for the app. It counts once `confirm` got a code of it."""
        call = Call("POST", "/api/v1/me/second-factor", body={"password": password})
        return build(Enrolment, self._transport.send(call).data)

    def confirm(self, code: str) -> list[str]:
        """Switch it on; the recovery codes, which are shown this once."""
        call = Call("POST", "/api/v1/me/second-factor/confirm", body={"code": code})
        return build(RecoveryCodes, self._transport.send(call).data).recovery_codes

    def delete(self, password: str, code: str) -> None:
        """Switch it off."""
        body = {"password": password, "code": code}
        self._transport.send(Call("POST", "/api/v1/me/second-factor/remove", body=body))
