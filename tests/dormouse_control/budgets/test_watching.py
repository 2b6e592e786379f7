"""What is booked on budgets: what is spent, what it takes away, and that it is told once."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, update

from dormouse_control import budgets
from dormouse_control.budgets import watching
from dormouse_control.budgets.models import BudgetNotice
from dormouse_control.identity.models import Role, User
from dormouse_control.mail import outbox
from dormouse_control.mail.models import Mail, MailKind
from dormouse_control.tiers.models import Tier

COST = 10 * 200 + 5 * 600  # of the fixture's event, in billionths


@pytest.fixture
def account(installation: Any) -> Any:
    found = installation.sign_up()
    found.post("/api/v1/entitlements", {"service": "chat"})
    return found


def key(account: Any, times: int, period: str = "day") -> Any:
    """A key for so many of the fixture's calls."""
    budget = {"amount": times * COST / 10**9, "period": period}
    answer = account.post("/api/v1/keys", {"name": "limited", "budget": budget})
    assert answer.status_code == 201, answer.text
    return answer.json()


def principal(installation: Any, secret: str) -> Any:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    question = {"kind": "key", "sha256": digest}
    return installation.internal.post("/internal/v1/principals", json=question).json()


def news(installation: Any) -> list[tuple[str, str]]:
    items = installation.internal.get("/internal/v1/revocations?after=0").json()["items"]
    return [(item["kind"], item["id"]) for item in items]


@pytest.fixture
def book(
    installation: Any, account: Any, usage_event: Callable[..., Any], clock: Any
) -> Callable[..., None]:
    numbers = iter(range(1000))

    def call(credential: str, times: int = 1) -> None:
        time = clock().isoformat().replace("+00:00", "Z")
        events = [
            usage_event(account.id, f"req-{next(numbers)}", credential=credential, time=time)
            for _ in range(times)
        ]
        answer = installation.internal.post("/internal/v1/events", json={"events": events})
        assert answer.json()["accepted"] == times, answer.text

    return call


def test_a_keys_budget_is_over_when_its_calls_have_spent_it(
    installation: Any, account: Any, book: Any, clock: Any
) -> None:
    limited, other = key(account, 2), key(account, 2)
    book(limited["id"])
    before = news(installation)
    assert not principal(installation, limited["key"])["over_budget"]
    book(limited["id"])
    assert news(installation) == [*before, ("key", limited["id"])]
    found = principal(installation, limited["key"])
    assert found["over_budget"]
    assert found["asked_again_at"] == int(datetime(2030, 1, 2, tzinfo=UTC).timestamp())
    assert not principal(installation, other["key"])["over_budget"]
    book(limited["id"])
    assert len(news(installation)) == len(before) + 1  # told once is enough
    clock.advance(days=1)
    assert not principal(installation, limited["key"])["over_budget"]


def test_a_total_budget_stays_over_until_it_is_raised(
    installation: Any, account: Any, book: Any, clock: Any
) -> None:
    limited = key(account, 1, "total")
    book(limited["id"], times=2)
    clock.advance(days=400)
    found = principal(installation, limited["key"])
    assert (found["over_budget"], found["asked_again_at"]) == (True, None)


def test_a_tiers_budget_holds_over_all_credentials(
    installation: Any, account: Any, book: Any
) -> None:
    with installation.platform.database.sessions.begin() as session:
        session.execute(update(Tier).values(monthly_budget_nano=2 * COST))
    one, other = account.key(), account.key()
    book(one["id"])
    book("ses_x")
    assert news(installation)[-1] == ("user", account.id)
    found = principal(installation, other["key"])
    assert found["over_budget"]
    assert found["asked_again_at"] == int(datetime(2030, 2, 1, tzinfo=UTC).timestamp())


def test_two_batches_that_only_together_spend_a_budget_announce_it(
    installation: Any, account: Any, book: Any, at_once: Any
) -> None:
    limited = key(account, 8)
    before = len(news(installation))
    at_once(8, lambda: book(limited["id"]))
    assert news(installation)[before:] == [("key", limited["id"])]


def test_a_repeated_report_spends_nothing(
    installation: Any, account: Any, usage_event: Callable[..., Any]
) -> None:
    limited = key(account, 2)
    event = usage_event(account.id, "req-same", credential=limited["id"])
    for _ in range(3):
        installation.internal.post("/internal/v1/events", json={"events": [event]})
    assert not principal(installation, limited["key"])["over_budget"]


# ---- thresholds ----------------------------------------------------------------------------------


@pytest.fixture
def root(installation: Any) -> Any:
    found = installation.sign_up("root@example.org")
    with installation.platform.database.sessions.begin() as session:
        session.execute(update(User).where(User.id == found.id).values(role=Role.ADMINISTRATOR))
    return found


def limit(root: Any, subject: str, times: float, *thresholds: tuple[int, str]) -> Any:
    """A budget of the month for so many of the fixture's calls."""
    said = [{"at_percent": percent, "action": action} for percent, action in thresholds]
    body = {"limit": times * COST / 10**9} | ({"thresholds": said} if said else {})
    answer = root.put(f"/api/v1/budgets/{subject}/month", body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def letters(installation: Any) -> list[tuple[str, str]]:
    """To whom, and the sentence that it is about; all mail that waits."""
    with installation.platform.database.reads() as reading:
        rows = reading.scalars(select(Mail).where(Mail.kind == MailKind.BUDGET).order_by(Mail.id))
        return [(row.address, row.about or "") for row in rows]


def test_every_threshold_acts_when_it_is_passed(
    installation: Any, account: Any, root: Any, book: Any, clock: Any
) -> None:
    mine = account.key()
    actions = ("notify", "lower_priority", "refuse_gpu", "refuse")
    limit(root, account.id, 4, *zip((25, 50, 75, 100), actions, strict=True))
    seen = []
    for _ in range(4):
        before = len(news(installation))
        book(mine["id"])
        found = principal(installation, mine["key"])
        seen.append(
            (
                len(letters(installation)),
                found["highest_priority"],
                found["refuse_gpu"],
                found["over_budget"],
                len(news(installation)) - before,
            )
        )
        assert found["budgeted"]
    assert seen == [
        (1, 0, False, False, 0),
        (1, 2, False, False, 1),
        (1, 2, True, False, 1),
        (1, 2, True, True, 1),
    ]
    assert found["asked_again_at"] == int(datetime(2030, 2, 1, tzinfo=UTC).timestamp())
    clock.advance(days=31)
    anew = principal(installation, mine["key"])
    assert (anew["highest_priority"], anew["refuse_gpu"], anew["over_budget"]) == (0, False, False)


def test_a_budget_without_refuse_refuses_nothing_and_needs_no_lease(
    installation: Any, account: Any, root: Any, book: Any
) -> None:
    mine = account.key()
    limit(root, account.id, 1, (100, "refuse_gpu"))
    book(mine["id"], times=5)
    found = principal(installation, mine["key"])
    assert (found["refuse_gpu"], found["over_budget"], found["budgeted"]) == (True, False, False)


def test_every_budget_that_a_call_counts_on_is_found(
    installation: Any, account: Any, root: Any
) -> None:
    mine, other = key(account, 3), key(account, 3)
    limit(root, account.id, 10, (50, "refuse"), (10, "notify"))
    limit(root, other["id"], 10)
    with installation.platform.database.sessions.begin() as session:
        session.execute(update(Tier).values(monthly_budget_nano=7))
    with installation.platform.database.reads() as reading:
        now = installation.platform.clock()
        found = budgets.of_many(reading, users=[account.id], keys=[mine["id"]], now=now)
    assert {
        (each.subject, each.subject_id, each.limit_nano, each.refused_from_nano, each.period)
        for each in found
    } == {
        ("user", account.id, 7, 7, "month"),
        ("key", mine["id"], 3 * COST, 3 * COST, "day"),
        ("user", account.id, 10 * COST, 5 * COST, "month"),
    }
    assert {each.begins for each in found} == {datetime(2030, 1, 1, tzinfo=UTC)}


def test_a_group_pays_together_and_all_members_are_asked_about_again(
    installation: Any, account: Any, root: Any, book: Any
) -> None:
    bob = installation.sign_up("bob@example.org")
    outsider = installation.sign_up("eve@example.org")
    group = root.post("/api/v1/groups", {"name": "painters"}).json()["id"]
    for member in (account, bob):
        root.put(f"/api/v1/groups/{group}/members/{member.id}", None)
    limit(root, group, 2)
    mine, theirs, hers = account.key(), bob.key(), outsider.key()
    before = news(installation)
    book(mine["id"], times=2)
    assert sorted(news(installation)[len(before) :]) == sorted(
        [("user", account.id), ("user", bob.id)]
    )
    assert principal(installation, theirs["key"])["over_budget"]
    assert not principal(installation, hers["key"])["over_budget"]
    ((address, about),) = letters(installation)
    assert address == root.email
    assert about.startswith("The group 'painters' has spent 100 % of the budget: ")
    root.delete(f"/api/v1/groups/{group}/members/{bob.id}")
    assert not principal(installation, theirs["key"])["over_budget"]


def test_a_threshold_is_told_once_in_a_period_and_again_in_the_next(
    installation: Any, account: Any, book: Any, clock: Any
) -> None:
    limited = key(account, 5)
    for _ in range(6):
        book(limited["id"])
    ((address, about),) = letters(installation)
    assert address == account.email
    assert about == (
        "Your API key 'limited' has spent 80 % of the budget: 0.00002 of 0.000025 today."
    )
    clock.advance(days=1)
    book(limited["id"], times=4)
    assert len(letters(installation)) == 2


def test_thresholds_passed_together_make_one_mail(
    installation: Any, account: Any, root: Any, book: Any
) -> None:
    limit(root, account.id, 2, (10, "notify"), (50, "notify"), (100, "notify"), (100, "refuse"))
    book("ses_x", times=3)
    ((_, about),) = letters(installation)
    assert about.startswith("Your account has spent 150 % of the budget: ")
    book("ses_x")
    assert len(letters(installation)) == 1


def test_after_a_change_its_thresholds_are_told_anew(
    installation: Any, account: Any, root: Any, book: Any
) -> None:
    mine = account.key()
    limit(root, account.id, 1)
    book(mine["id"])
    assert principal(installation, mine["key"])["over_budget"]
    limit(root, account.id, 3)
    raised = news(installation)
    assert raised[-1] == ("user", account.id)  # at once
    assert not principal(installation, mine["key"])["over_budget"]
    book(mine["id"], times=2)
    assert news(installation)[len(raised) :] == [("user", account.id)]
    assert len(letters(installation)) == 2


def test_a_limit_below_what_is_spent_is_told_when_it_is_set(
    installation: Any, account: Any, root: Any, book: Any
) -> None:
    mine = account.key()
    book(mine["id"], times=2)
    limit(root, account.id, 1)
    assert principal(installation, mine["key"])["over_budget"]
    assert len(letters(installation)) == 1
    limit(root, account.id, 1)  # the same again
    assert len(letters(installation)) == 1


def test_nobody_gets_more_than_some_mail_an_hour_by_own_keys(
    installation: Any, account: Any, book: Any, clock: Any
) -> None:
    keys = [key(account, 1)["id"] for _ in range(outbox.MOST_NOTICES_AN_HOUR + 4)]
    for each in keys[1:]:
        book(each)
    assert len(letters(installation)) == outbox.MOST_NOTICES_AN_HOUR
    clock.advance(hours=1)
    book(keys[0])
    assert len(letters(installation)) == outbox.MOST_NOTICES_AN_HOUR + 1


def test_who_is_erased_or_disabled_gets_no_mail(
    installation: Any, account: Any, root: Any, book: Any
) -> None:
    limit(root, account.id, 1)
    root.patch(f"/api/v1/users/{account.id}", {"status": "disabled"})
    book("ses_x")
    assert letters(installation) == []


def test_batches_that_only_together_spend_a_groups_budget_tell_it_once(
    installation: Any, account: Any, root: Any, book: Any, at_once: Any
) -> None:
    group = root.post("/api/v1/groups", {"name": "painters"}).json()["id"]
    root.put(f"/api/v1/groups/{group}/members/{account.id}", None)
    limit(root, group, 8)
    before = len(news(installation))
    at_once(8, lambda: book("ses_x"))
    assert news(installation)[before:] == [("user", account.id)]
    assert len(letters(installation)) == 1


def test_old_notices_are_dropped_but_not_those_of_totals(
    installation: Any, account: Any, book: Any, clock: Any
) -> None:
    for period in ("day", "total"):
        book(key(account, 1, period)["id"])

    def kept() -> int:
        with installation.platform.database.sessions.begin() as session:
            watching.prune(session, now=clock())
            return session.scalar(select(func.count()).select_from(BudgetNotice)) or 0

    assert kept() == 4
    clock.advance(days=41)
    assert kept() == 2
