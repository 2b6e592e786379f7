"""`client.verifications`, `client.resets`, `client.administrators`: getting into an account."""

from dormouse.accounts import Account
from dormouse.answers import build
from dormouse.calls import Call
from dormouse.transport import Transport


class Verifications:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, email: str) -> None:
        """Have the mail that verifies an address sent again, if an account there needs it."""
        self._transport.send(_call("/api/v1/verifications", email=email))

    def confirm(self, token: str) -> Account:
        """Verify an address with the token from the mail."""
        call = _call("/api/v1/verifications/confirm", token=token)
        return build(Account, self._transport.send(call).data)


class Resets:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, email: str) -> None:
        """Have a token mailed that sets a new password, if there is such an account."""
        self._transport.send(_call("/api/v1/resets", email=email))

    def confirm(self, token: str, password: str) -> None:
        """Set a new password with the token from the mail. Every session ends."""
        self._transport.send(_call("/api/v1/resets/confirm", token=token, password=password))


class Administrators:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, email: str, password: str, *, token: str) -> Account:
        """The first administrator, with the token that the platform shows while it has none."""
        call = _call("/api/v1/administrators", token=token, email=email, password=password)
        return build(Account, self._transport.send(call).data)

    def create_here(self, email: str, password: str | None = None) -> Account:
        """Through the platform's own socket: a new one, or without password one who is there."""
        with_password = {} if password is None else {"password": password}
        call = _call("/local/v1/administrators", email=email, **with_password)
        return build(Account, self._transport.send(call).data)


def _call(path: str, **body: str) -> Call:
    """Before there is a session."""
    return Call("POST", path, body=body, signed=False, repeatable=path.startswith("/api/"))
