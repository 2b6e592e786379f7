"""G9: 64 callers at once at three holders; nobody gets more than there is, whatever gets lost.

And a random machine: whatever holders, calls, kills and lost answers do, the ledger balances.
"""

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from dormouse_control.budgets.decisions import Subject
from dormouse_control.budgets.models import SetBudget
from dormouse_control.identity.models import Period
from dormouse_control.leases import ending
from dormouse_control.ledger import verification
from dormouse_control.naming import new_id

THREADS = 64
PRICE = 200  # of a prompt token, in billionths
Holder = Any  # of conftest


def together(call: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(THREADS)

    def one(number: int) -> Any:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def budget(installation: Any, user: str, limit: int) -> None:
    with installation.platform.database.sessions.begin() as session:
        session.add(
            SetBudget(
                id=new_id("bud"),
                subject=Subject.USER,
                subject_id=user,
                period=Period.TOTAL,
                limit_nano=limit,
                thresholds=[{"at_percent": 100, "action": "refuse"}],
                created_by=None,
                created_at=installation.platform.clock(),
            )
        )


def verified(installation: Any) -> verification.Findings:
    with installation.platform.database.reads() as reading:
        found = verification.verify(reading)
    assert found.problems == []
    return found


def test_g9_a_rate_is_never_passed(holder: Callable[[int], Holder]) -> None:
    """Each thread is a holder of its own, or three of them share their names."""
    got = together(lambda number: holder(number).rate(3, capacity=100)["granted"])
    assert sum(got) == 100

    def shared(number: int) -> float:
        # What a holder says it has is nothing: of its own pieces each is used at once.
        return float(holder(number % 3).rate(3, capacity=100, subject="other")["granted"])

    assert sum(together(shared)) == 100


def test_g9_calls_at_once_are_never_more(holder: Callable[[int], Holder]) -> None:
    got = together(lambda number: holder(number).slots(3, limit=50)["held"])
    assert sum(got) == 50


def test_g9_money_is_lent_once(installation: Any, holder: Callable[[int], Holder]) -> None:
    ada = installation.sign_up()
    budget(installation, ada.id, 1000)

    def ask(number: int) -> int:
        got = holder(number % 3).money(30, user=ada.id, credential=f"ses_{number % 7}", seq=number)
        return int(got["granted"])

    got = together(ask)
    assert sum(got) == 1000
    assert verified(installation).outstanding == 1000


def test_batches_in_any_order_never_wait_in_a_circle(
    installation: Any, holder: Callable[[int], Holder], usage_event: Any
) -> None:
    ada = installation.sign_up()
    ada.post("/api/v1/entitlements", {"service": "chat"})
    budget(installation, ada.id, 10**9)
    subjects = [f"user_{number}" for number in range(40)]
    leases = [holder(0).money(1, user=ada.id, credential="ses_x", seq=n)["lease"] for n in range(8)]

    def one(number: int) -> None:
        dice = random.Random(number)  # noqa: S311  the same dice each time
        mixed = dice.sample(subjects, len(subjects))
        rate = {"kind": "requests", "capacity": 60, "held": 0, "wanted": 1, "returned": 0}
        holder(number % 3).send(
            rates=[{"subject": subject, **rate} for subject in mixed],
            slots=[{"subject": each, "limit": 9, "used": 0, "wanted": 1} for each in mixed],
        )
        events = [
            usage_event(ada.id, f"req-{number}-{place}", lease=lease)
            for place, lease in enumerate(dice.sample(leases, len(leases)))
        ]
        answer = installation.internal.post("/internal/v1/events", json={"events": events})
        assert answer.status_code == 200, answer.text

    together(one)
    assert verified(installation).calls == THREADS * len(leases)


@dataclass
class _Authorizer:
    """A holder with one lease for each credential, as good and as bad as real ones are."""

    holder: Holder
    user: str
    numbers: Iterator[int]
    leases: dict[str, str] = field(default_factory=dict)
    balance: dict[str, int] = field(default_factory=dict)

    def ask(self, credential: str, wanted: int, *, lost: bool) -> None:
        seq, lease = next(self.numbers), self.leases.get(credential)
        returned = max(0, self.balance.get(credential, 0)) // 3
        self.balance[credential] = self.balance.get(credential, 0) - returned
        for _ in range(2 if lost else 1):
            got = self.holder.money(
                wanted,
                user=self.user,
                credential=credential,
                seq=seq,
                lease=lease,
                returned=returned,
            )
        if got["lease"] is None:
            return
        if got["lease"] != lease:
            self.leases[credential], self.balance[credential] = got["lease"], 0
        self.balance[credential] += got["granted"]

    def call(self, credential: str, most: int, dice: random.Random) -> tuple[str, int] | None:
        """(lease, tokens) of a call that was let through."""
        if self.balance.get(credential, 0) < most * PRICE:
            return None
        tokens = dice.randint(0, most)
        self.balance[credential] -= tokens * PRICE
        return self.leases[credential], tokens


@pytest.mark.parametrize("seed", range(4))
def test_t104_the_ledger_balances_whatever_happens(
    installation: Any, holder: Callable[[int], Holder], usage_event: Any, clock: Any, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311  the same dice each time
    ada = installation.sign_up()
    ada.post("/api/v1/entitlements", {"service": "chat"})
    limit = 300_000
    budget(installation, ada.id, limit)
    keys = [ada.key(f"k{number}")["id"] for number in range(3)]
    numbers = itertools.count(1)
    names = itertools.count(100)

    def new() -> _Authorizer:
        return _Authorizer(holder(next(names)), ada.id, numbers)

    authorizers = [new() for _ in range(3)]
    spool: list[dict[str, Any]] = []
    sent: list[dict[str, Any]] = []
    charged = 0
    for step in range(250):
        who, key, action = dice.randrange(3), dice.choice(keys), dice.random()
        authorizer = authorizers[who]
        if action < 0.30:
            authorizer.ask(key, dice.choice([0, 600, 5000, 40_000]), lost=dice.random() < 0.2)
        elif action < 0.75:
            made = authorizer.call(key, 25, dice)
            if made is not None:
                charged += made[1] * PRICE
                event = usage_event(
                    ada.id,
                    f"req-{step}",
                    credential=key,
                    lease=made[0],
                    prompt_tokens=made[1],
                    completion_tokens=0,
                    time=clock().isoformat(),
                )
                spool.append(event)
        elif action < 0.90:
            batch = dice.sample(spool, len(spool)) + dice.sample(sent, min(5, len(sent)))
            answer = installation.internal.post("/internal/v1/events", json={"events": batch})
            assert not answer.json()["rejected"]
            if dice.random() < 0.8:  # else the answer was lost, and all is sent again
                sent, spool = sent + spool, []
        elif action < 0.94:
            authorizers[who] = new()  # killed with all that it held
        else:
            for _ in range(dice.choice([1, 80])):
                clock.advance(seconds=10)
                authorizers[who].holder.send()
            ending.sweep(installation.platform.database.sessions, now=clock())
        if step % 50 == 0:
            assert verified(installation).charged <= limit
    installation.internal.post("/internal/v1/events", json={"events": spool})
    found = verified(installation)
    assert found.charged == charged
    assert charged > 0
