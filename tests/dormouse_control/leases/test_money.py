"""Money that holders take from budgets: written down, settled by calls, released at the end."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from dormouse_control.budgets.decisions import Subject
from dormouse_control.budgets.models import SetBudget
from dormouse_control.groups.models import Group, GroupMember
from dormouse_control.identity.models import Period, User, UserStatus
from dormouse_control.leases import ending
from dormouse_control.leases.models import Lease
from dormouse_control.ledger import verification
from dormouse_control.ledger.models import LedgerEntry
from dormouse_control.naming import new_id
from fixtures.control_plane import PASSWORD

PRICE = 200  # of a prompt token, in billionths
Holder = Any  # of conftest


@pytest.fixture
def account(installation: Any) -> Any:
    found = installation.sign_up()
    found.post("/api/v1/entitlements", {"service": "chat"})
    return found


@pytest.fixture
def budget(installation: Any, clock: Any) -> Callable[..., None]:
    def make(
        subject_id: str, limit: int, period: Period = Period.TOTAL, percent: int = 100
    ) -> None:
        subject = {"usr": Subject.USER, "key": Subject.KEY, "grp": Subject.GROUP}[subject_id[:3]]
        with installation.platform.database.sessions.begin() as session:
            session.add(
                SetBudget(
                    id=new_id("bud"),
                    subject=subject,
                    subject_id=subject_id,
                    period=period,
                    limit_nano=limit,
                    thresholds=[{"at_percent": percent, "action": "refuse"}],
                    created_by=None,
                    created_at=clock(),
                )
            )

    return make


@pytest.fixture
def book(installation: Any, usage_event: Any, clock: Any) -> Callable[..., Any]:
    numbers = itertools.count()

    def call(account: Any, tokens: int, **changes: Any) -> dict[str, Any]:
        facts = {"time": clock().isoformat(), "completion_tokens": 0} | changes
        event = usage_event(account.id, f"req-{next(numbers)}", prompt_tokens=tokens, **facts)
        sent = {"events": [event]}
        answer = installation.internal.post("/internal/v1/events", json=sent)
        assert answer.json()["accepted"] == 1, answer.text
        return sent

    return call


@pytest.fixture
def verify(installation: Any) -> Callable[[], verification.Findings]:
    def run() -> verification.Findings:
        with installation.platform.database.reads() as reading:
            found = verification.verify(reading)
        assert found.problems == []
        return found

    return run


def wait(clock: Any, holder: Holder, seconds: int) -> None:
    for _ in range(seconds // 10):
        clock.advance(seconds=10)
        holder.send()


def lease(installation: Any, id: str) -> Lease:
    with installation.platform.database.reads() as reading:
        return reading.get_one(Lease, id)


def test_a_budget_is_taken_in_pieces_and_spent_by_calls(
    holder: Any, account: Any, budget: Any, book: Any, verify: Any
) -> None:
    budget(account.id, 16_000)
    one = holder(1)
    ask = {"user": account.id, "credential": "ses_x"}

    got = one.money(300, seq=1, **ask)
    assert got == {
        "lease": got["lease"],
        "seq": 1,
        "granted": 1000,
        "state": "ok",
        "others": 0,
        "until": None,
    }
    book(account, 3, lease=got["lease"])
    assert verify().outstanding == 400
    more = one.money(15_400, seq=2, lease=got["lease"], **ask)
    assert (more["granted"], more["state"], more["lease"]) == (15_000, "reserved", got["lease"])
    assert one.money(1, seq=3, lease=got["lease"], **ask)["state"] == "reserved"
    book(account, 77, lease=got["lease"])
    assert one.money(1, seq=4, lease=got["lease"], **ask)["state"] == "spent"
    assert verify().outstanding == 0


def test_a_repeated_step_has_the_same_answer_and_no_second_effect(
    holder: Any, account: Any, budget: Any, verify: Any
) -> None:
    budget(account.id, 1000)
    one = holder(1)
    ask = {"user": account.id, "credential": "ses_x"}
    first = one.money(400, seq=7, **ask)
    assert one.money(400, seq=7, **ask) == first  # the answer with the lease's id was lost
    second = one.money(100, seq=8, lease=first["lease"], returned=50, **ask)
    for _ in range(2):
        assert one.money(100, seq=8, lease=first["lease"], returned=50, **ask) == second
    assert one.money(400, seq=7, **ask)["granted"] == 400  # late, and only said again
    assert verify().outstanding == 450
    assert holder(2).money(1000, user=account.id, credential="ses_x", seq=1)["granted"] == 550


def test_another_lease_begins_with_another_number(
    holder: Any, account: Any, budget: Any, verify: Any
) -> None:
    budget(account.id, 1000)
    one = holder(1)
    ask = {"user": account.id, "credential": "ses_x"}
    first, second = one.money(400, seq=1, **ask), one.money(400, seq=2, **ask)
    assert first["lease"] != second["lease"]
    assert second["others"] == 400
    assert verify().outstanding == 800


def test_every_budget_of_a_caller_has_to_have_room(
    installation: Any, holder: Any, account: Any, budget: Any, clock: Any, book: Any
) -> None:
    group, other = new_id("grp"), installation.sign_up("bob@example.org")
    with installation.platform.database.sessions.begin() as session:
        session.add(Group(id=group, name="g", created_at=clock()))
        session.flush()
        session.add_all(
            GroupMember(group_id=group, user_id=user, added_by=None, added_at=clock())
            for user in (account.id, other.id)
        )
    key = account.key()["id"]
    budget(account.id, 10_000)
    budget(key, 5000, Period.DAY, 80)
    budget(group, 3000, Period.MONTH)
    one = holder(1)

    theirs = one.money(1200, user=other.id, credential="ses_o", seq=1)
    mine = one.money(2500, user=account.id, credential=key, seq=2)
    assert (mine["granted"], mine["others"]) == (1800, 1200)
    assert mine["until"] == int(datetime(2030, 2, 1, tzinfo=UTC).timestamp())
    book(other, 6, credential="ses_o", lease=theirs["lease"])
    assert one.money(1, user=other.id, credential="ses_o", seq=3)["granted"] == 0
    budget(account.id, 2000, Period.DAY)  # less than its lease holds of it
    assert one.money(1, user=account.id, credential="ses_y", seq=4)["granted"] == 0


def test_a_whole_batch_shares_what_is_left(holder: Any, account: Any, budget: Any) -> None:
    budget(account.id, 1000)
    asks = [
        {
            "credential": f"ses_{number}",
            "user": account.id,
            "lease": None,
            "seq": number,
            "wanted": 300,
            "returned": 0,
        }
        for number in range(5)
    ]
    got = holder(1).send(money=asks)["money"]
    assert [each["granted"] for each in got] == [300, 300, 300, 100, 0]
    assert got[4]["lease"] is None


def test_a_spent_budget_begins_anew(
    holder: Any, account: Any, budget: Any, book: Any, clock: Any, verify: Any
) -> None:
    budget(account.id, 1000, Period.DAY)
    book(account, 5)
    ask = {"user": account.id, "credential": "ses_x"}
    got = holder(1).money(100, seq=1, **ask)
    assert (got["granted"], got["state"]) == (0, "spent")
    assert got["until"] == int(datetime(2030, 1, 2, tzinfo=UTC).timestamp())
    clock.advance(days=1)
    assert holder(1).money(100, seq=2, **ask)["granted"] == 100
    verify()


def test_a_month_forgets_the_months_before_and_a_total_does_not(
    holder: Any, account: Any, budget: Any, book: Any, clock: Any
) -> None:
    key = account.key()["id"]
    budget(account.id, 1000, Period.MONTH)
    budget(key, 5000, Period.TOTAL)
    book(account, 5, credential=key)
    clock.advance(days=31)
    assert holder(1).money(900, user=account.id, credential="ses_x", seq=1)["granted"] == 900
    book(account, 1, credential=key, time="2030-01-31T12:00:00Z")
    budget(account.id, 10**6, Period.TOTAL)
    other = holder(1).money(5000, user=account.id, credential=key, seq=2)
    assert other["granted"] == 100  # the month has 900 outstanding
    book(account, 19, credential=key)
    assert holder(1).money(1, user=account.id, credential=key, seq=3)["state"] == "spent"


def test_nobody_gives_back_more_than_there_is(
    holder: Any, account: Any, budget: Any, book: Any, verify: Any
) -> None:
    budget(account.id, 1000)
    ask = {"user": account.id, "credential": "ses_x"}
    got = holder(1).money(600, seq=1, **ask)["lease"]
    book(account, 2, lease=got)
    holder(1).money(0, seq=2, lease=got, returned=600, **ask)
    assert verify().outstanding == 0
    assert holder(1).money(1000, seq=3, lease=got, **ask)["granted"] == 600
    assert verify().outstanding == 600


def test_a_call_counts_when_it_ended_but_never_in_the_future(
    holder: Any, account: Any, budget: Any, book: Any, verify: Any
) -> None:
    """T104: a clock that is ahead moves no cost out of the budget."""
    budget(account.id, 1000, Period.DAY)
    book(account, 2, time="2039-01-01T00:00:00Z")
    book(account, 2, time="2029-12-31T23:59:59Z")
    got = holder(1).money(1000, user=account.id, credential="ses_x", seq=1)
    assert got["granted"] == 600
    verify()


def test_what_a_lease_had_left_is_released_when_nobody_speaks_of_it_any_more(
    installation: Any, holder: Any, account: Any, budget: Any, book: Any, clock: Any, verify: Any
) -> None:
    """Its holder was killed between reservation and charge."""
    budget(account.id, 1000)
    ask = {"user": account.id, "credential": "ses_x"}
    dead, living = holder(1), holder(2)
    lost = dead.money(1000, seq=1, **ask)["lease"]
    wait(clock, living, 690)
    ending.sweep(installation.platform.database.sessions, now=clock())
    assert living.money(1000, seq=1, **ask)["granted"] == 0
    wait(clock, living, 20)
    ending.sweep(installation.platform.database.sessions, now=clock())
    assert lease(installation, lost).ended_at == clock()
    assert verify().outstanding == 0
    # What its calls cost is charged all the same, however late it is told.
    book(account, 3, lease=lost)
    assert living.money(1000, seq=2, **ask)["granted"] == 400
    assert verify().charged == 600
    # A holder that was not dead begins again.
    late = dead.money(100, seq=2, lease=lost, **ask)
    assert late["lease"] != lost
    assert late["granted"] == 0


def test_what_a_holder_held_that_was_started_anew_is_released_soon(
    installation: Any, holder: Any, account: Any, budget: Any, clock: Any, verify: Any
) -> None:
    """Calls can begin by its tokens for 60 seconds more."""
    budget(account.id, 1000)
    ask = {"user": account.id, "credential": "ses_x"}
    one, other = holder(1), holder(2)
    one.money(1000, seq=1, **ask)
    one.send(fresh=True)
    wait(clock, one, 60)
    ending.sweep(installation.platform.database.sessions, now=clock())
    assert one.money(1000, seq=2, **ask)["granted"] == 0
    assert other.send(fresh=True)  # is nobody else's business
    wait(clock, one, 40)
    ending.sweep(installation.platform.database.sessions, now=clock())
    assert one.money(1000, seq=3, **ask)["granted"] == 1000
    assert verify().outstanding == 1000


def test_who_goes_on_speaking_of_a_lease_keeps_it(
    installation: Any, holder: Any, account: Any, budget: Any, clock: Any, verify: Any
) -> None:
    budget(account.id, 1000)
    ask = {"user": account.id, "credential": "ses_x"}
    one = holder(1)
    got = one.money(1000, seq=1, **ask)
    for step in range(2, 6):
        wait(clock, one, 600)
        ending.sweep(installation.platform.database.sessions, now=clock())
        assert one.money(0, seq=step, lease=got["lease"], **ask)["lease"] == got["lease"]
    assert verify().outstanding == 1000


def test_no_lease_ends_because_the_control_plane_was_away(
    installation: Any, holder: Any, account: Any, budget: Any, clock: Any
) -> None:
    budget(account.id, 1000)
    ask = {"user": account.id, "credential": "ses_x"}
    got = holder(1).money(1000, seq=1, **ask)
    clock.advance(hours=3)
    for _ in range(3):
        ending.sweep(installation.platform.database.sessions, now=clock())
        clock.advance(seconds=60)
    assert holder(1).money(0, seq=2, lease=got["lease"], **ask)["lease"] == got["lease"]


def test_calls_may_cost_more_than_was_thought(
    holder: Any, account: Any, budget: Any, book: Any, verify: Any
) -> None:
    budget(account.id, 10_000)
    ask = {"user": account.id, "credential": "ses_x"}
    got = holder(1).money(625, seq=1, **ask)
    book(account, 10, lease=got["lease"])
    assert verify().outstanding == 0
    again = holder(1).money(2000, seq=2, lease=got["lease"], **ask)
    assert again["granted"] == 2000  # of which what it owes is not outstanding
    assert holder(2).money(10_000, seq=1, **ask)["granted"] == 10_000 - 2000 - 625
    verify()


def test_a_lease_takes_charges_of_its_own_caller_only(
    installation: Any, holder: Any, account: Any, budget: Any, book: Any, verify: Any
) -> None:
    bob = installation.sign_up("bob@example.org")
    budget(account.id, 1000)
    ask = {"user": account.id, "credential": "ses_x"}
    got = holder(1).money(500, seq=1, **ask)["lease"]
    book(bob, 1, lease=got)
    book(account, 1, lease=got, credential="ses_other")
    book(account, 1, lease="lse_unknown")
    assert lease(installation, got).charged_nano == 0
    assert holder(2).money(1, lease=got, seq=9, **ask)["lease"] != got
    other = holder(1).money(1, lease=got, seq=9, user=bob.id, credential="ses_b")
    assert other["lease"] != got
    assert verify().charged == 600


def test_events_that_are_repeated_charge_once(
    installation: Any, holder: Any, account: Any, budget: Any, book: Any, verify: Any, at_once: Any
) -> None:
    budget(account.id, 10_000)
    got = holder(1).money(500, seq=1, user=account.id, credential="ses_x")["lease"]
    sent = book(account, 2, lease=got)
    at_once(8, lambda: installation.internal.post("/internal/v1/events", json=sent))
    assert lease(installation, got).charged_nano == 400
    assert verify().charged == 400


def test_who_is_not_active_gets_nothing_and_can_give_back(
    installation: Any, holder: Any, account: Any, budget: Any, verify: Any
) -> None:
    budget(account.id, 1000)
    ask = {"user": account.id, "credential": "ses_x"}
    got = holder(1).money(500, seq=1, **ask)
    with installation.platform.database.sessions.begin() as session:
        session.execute(update(User).values(status=UserStatus.DISABLED))
    answer = holder(1).money(500, seq=2, lease=got["lease"], returned=300, **ask)
    assert (answer["granted"], answer["state"]) == (0, "spent")
    assert verify().outstanding == 200


def test_an_erased_users_leases_end_and_what_is_told_later_is_charged(
    installation: Any, holder: Any, account: Any, budget: Any, book: Any, verify: Any
) -> None:
    key = account.key()["id"]
    budget(account.id, 10_000)
    got = holder(1).money(600, seq=1, user=account.id, credential=key)["lease"]
    book(account, 1, lease=got, credential=key, tags={"who": "ada"})
    assert account.post("/api/v1/me/erase", {"password": PASSWORD}).status_code == 204
    ended = lease(installation, got)
    assert (ended.credential, ended.ended_at is not None) == ("erased", True)
    book(account, 1, lease=got, credential=key, tags={"who": "ada"})
    assert lease(installation, got).charged_nano == 400
    assert holder(1).money(1, seq=2, user=account.id, credential=key)["granted"] == 0
    assert verify().charged == 400
    with installation.platform.database.reads() as reading:
        assert key not in {entry.lease_id for entry in reading.scalars(select(LedgerEntry))}
