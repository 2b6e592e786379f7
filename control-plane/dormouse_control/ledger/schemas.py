"""Wire types of the ledger."""

from dormouse_control.wire import Answer


class LedgerVerificationRead(Answer):
    """Amounts in billionths of the currency, so that they are exact.

    `problems` are the first of `count`; 0: it balances to the unit. `rejected` usage events
    could not be read: they are kept as they came, and nobody was charged for them.
    """

    calls: int
    entries: int
    charged: int
    outstanding: int
    rejected: int
    count: int
    problems: list[str]
    currency: str
