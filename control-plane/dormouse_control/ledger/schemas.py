"""Wire types of the ledger."""

from dormouse_control.wire import Answer


class LedgerVerificationRead(Answer):
    """Amounts in billionths of the currency, so that they are exact.

    `problems` are the first of `count`; 0 if the ledger balances to the unit.
    """

    calls: int
    entries: int
    charged: int
    outstanding: int
    count: int
    problems: list[str]
    currency: str
