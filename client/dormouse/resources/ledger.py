"""`client.ledger`: the account of all that calls cost; for operators and administrators."""

from dormouse.administration import LedgerVerification
from dormouse.answers import build
from dormouse.calls import Call
from dormouse.transport import Transport


class Ledger:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def verify(self) -> LedgerVerification:
        """Whether it balances to the unit, and what does not."""
        call = Call("GET", "/api/v1/ledger/verification")
        return build(LedgerVerification, self._transport.send(call).data)
