"""`client.ledger` and `dormouse ledger verify`."""

import json
from typing import Any

import pytest

SOUND = {
    "calls": 3,
    "entries": 5,
    "charged": 1_500_000_001,
    "outstanding": 20,
    "rejected": 0,
    "count": 0,
    "problems": [],
    "currency": "EUR",
}
DAMAGED = SOUND | {"count": 3, "problems": ["call a: it was not charged", "lease b: it is missing"]}


@pytest.fixture
def ledger(platform: Any) -> Any:
    def make(answer: dict[str, Any]) -> None:
        platform.always(
            "GET", "/api/v1/ledger/verification", lambda _, reply: reply.json(200, answer)
        )

    return make


def test_the_client_tells_what_is_wrong(ledger: Any, client: Any) -> None:
    ledger(DAMAGED)
    found = client.ledger.verify()
    assert (found.count, found.problems[0]) == (3, "call a: it was not charged")


def test_a_sound_ledger(ledger: Any, signed_in: Any) -> None:
    ledger(SOUND)
    result = signed_in("ledger", "verify")
    assert result.exit_code == 0
    assert "balances to the unit" in result.stdout
    assert "3 calls, 5 entries: 1.500000001 EUR charged." in result.stdout


def test_events_that_could_not_be_read_are_told_of(ledger: Any, signed_in: Any) -> None:
    ledger(SOUND | {"rejected": 2})
    result = signed_in("ledger", "verify")
    assert result.exit_code == 0
    assert "2 usage events could not be read; nobody was charged for them." in result.output


def test_a_damaged_ledger_ends_with_1(ledger: Any, signed_in: Any) -> None:
    ledger(DAMAGED)
    result = signed_in("ledger", "verify")
    assert result.exit_code == 1
    assert result.stdout.startswith("The ledger does not balance: 3 differences.\n  call a: ")
    assert "and 1 more" in result.stdout

    shown = signed_in("ledger", "verify", "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout) == DAMAGED
