"""The outbox: at least once, not at the same time twice, and not for ever."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from dormouse_control.mail import outbox
from dormouse_control.mail.messages import Message
from dormouse_control.mail.models import Mail, MailKind
from dormouse_control.mail.sender import Sender
from fixtures.accounts import Mailbox, Place

MakePlace = Callable[..., Place]


def put(here: Place, address: str = "ada@example.org") -> None:
    with here.platform.database.sessions.begin() as session:
        now = here.platform.clock()
        outbox.enqueue(session, MailKind.CHANGED, address=address, about="password", now=now)


def left(here: Place) -> int:
    with here.platform.database.reads() as reading:
        return reading.scalar(select(func.count()).where(Mail.next_at.is_not(None))) or 0


def test_mail_is_sent_once(place: MakePlace) -> None:
    here = place()
    put(here)

    assert [len(here.mail()) for _ in range(2)] == [1, 0]
    assert left(here) == 0


def test_mail_of_a_transaction_that_failed_is_not_sent(place: MakePlace) -> None:
    here = place()
    with here.platform.database.sessions() as session:
        now = here.platform.clock()
        outbox.enqueue(session, MailKind.CHANGED, address="ada@example.org", now=now)

    assert here.mail() == []


@pytest.mark.parametrize("problem", [ConnectionRefusedError("no"), IndexError("no")])
def test_what_fails_is_tried_again_after_longer_and_longer(
    place: MakePlace, clock: Any, problem: Exception
) -> None:
    here = place()
    put(here)
    here.mailbox.problem = problem
    attempts = 0
    for _minute in range(20):
        with here.platform.database.reads() as reading:
            attempts += len(outbox.due(reading, now=clock()))
        here.mail()
        clock.advance(minutes=1)
    here.mailbox.problem = None
    clock.advance(hours=1)

    assert attempts == 5  # after 0, 1, 3, 7 and 15 minutes
    assert len(here.mail()) == 1


def test_after_a_day_it_is_given_up(place: MakePlace, clock: Any) -> None:
    here = place()
    put(here)
    here.mailbox.problem = ConnectionRefusedError("no")
    for _ in range(25):
        here.mail()
        clock.advance(hours=1)
    assert left(here) == 0
    here.mailbox.problem = None

    assert here.mail() == []


def test_one_that_fails_does_not_hold_the_others(place: MakePlace) -> None:
    here = place()
    put(here, "first@example.org")
    put(here, "second@example.org")

    class Picky(Mailbox):
        def send(self, message: Message) -> None:
            if message.to == "first@example.org":
                raise ConnectionRefusedError
            super().send(message)

    picky = Picky()
    Sender(here.platform, picky).send_due()

    assert [letter.to for letter in picky.letters] == ["second@example.org"]


def test_all_that_is_due_is_sent_at_once(place: MakePlace) -> None:
    here = place()
    for number in range(50):
        put(here, f"user{number}@example.org")

    assert len(here.mail()) == 50


def test_several_control_planes_send_it_once(
    place: MakePlace, at_once: Callable[..., list[Any]]
) -> None:
    here = place()
    for number in range(5):
        put(here, f"user{number}@example.org")

    at_once(4, Sender(here.platform, here.mailbox).send_due)

    assert sorted(letter.to for letter in here.mailbox.letters) == [
        f"user{number}@example.org" for number in range(5)
    ]


def test_a_crash_while_sending_sends_it_again(place: MakePlace, clock: Any) -> None:
    here = place()
    put(here)

    class Crash(BaseException):
        pass

    class Crashing(Mailbox):
        def send(self, message: Message) -> None:
            super().send(message)
            raise Crash

    with pytest.raises(Crash):
        Sender(here.platform, Crashing()).send_due()
    assert here.mail() == []
    clock.advance(minutes=1)

    assert len(here.mail()) == 1


def test_what_is_over_is_dropped_after_an_hour(place: MakePlace, clock: Any) -> None:
    here = place()
    put(here)
    here.mail()
    counts = []
    for _ in range(2):
        here.tidy()
        with here.platform.database.reads() as reading:
            counts.append(reading.scalar(select(func.count()).select_from(Mail)))
        clock.advance(minutes=61)

    assert counts == [1, 0]


def test_mail_that_waits_is_not_dropped(place: MakePlace, clock: Any) -> None:
    here = place()
    put(here)
    clock.advance(hours=2)
    here.tidy()

    assert len(here.mail()) == 1


def test_the_thread_sends_until_it_is_stopped(place: MakePlace) -> None:
    here = place()
    put(here)
    here.sender.start()
    deadline = time.monotonic() + 20
    while left(here) and time.monotonic() < deadline:
        time.sleep(0.02)
    here.sender.stop(20)
    put(here)

    assert len(here.mailbox.letters) == 1
    assert here.sender.send_due() == 0
