"""Sends what is in the outbox, in a thread of the control plane, until it is told to stop."""

import threading
from collections.abc import Sequence

import structlog

from dormouse_control.mail import outbox
from dormouse_control.mail.delivery import Delivery
from dormouse_control.mail.messages import Message
from dormouse_control.mail.models import Mail
from dormouse_control.mail.preparing import prepare
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0


class Sender:
    def __init__(self, platform: Platform, delivery: Delivery) -> None:
        self._platform = platform
        self._delivery = delivery
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """A message that is being sent may end first; what is cut off is sent again later."""
        self._stop.set()
        self._thread.join(seconds)

    def send_due(self) -> int:
        """How many were sent. What failed is tried again later."""
        sent = 0
        # All of it at once: who asks for much must not make everybody else wait.
        while not self._stop.is_set() and (rows := self._due()):
            sent += sum(self._send(row) for row in rows if not self._stop.is_set())
        return sent

    def _due(self) -> Sequence[Mail]:
        with self._platform.database.reads() as reading:
            return outbox.due(reading, now=self._platform.clock())

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.send_due()
            except Exception:
                # Whatever it is, for example a database that is away: later mail must go out.
                log.exception("mail_failed")

    def _send(self, mail: Mail) -> bool:
        ours, message = self._claimed(mail)
        if not ours:
            return False
        problem = self._problem(message) if message is not None else None
        now = self._platform.clock()
        with self._platform.database.sessions.begin() as session:
            if problem is None:
                outbox.finish(session, mail)
            elif not outbox.postpone(session, mail, problem=problem, now=now):
                log.error("mail_dropped", mail=mail.id, kind=mail.kind.value, problem=problem)
        return message is not None and problem is None

    def _claimed(self, mail: Mail) -> tuple[bool, Message | None]:
        platform = self._platform
        now = platform.clock()
        with platform.database.sessions.begin() as session:
            if not outbox.claim(session, mail, now=now):
                return False, None
            url = platform.settings.public_url
            return True, prepare(session, mail, url=url, sealing=platform.sealing, now=now)

    def _problem(self, message: Message) -> str | None:
        """Why it could not be sent; the kind of error only, its text may name the address."""
        try:
            self._delivery.send(message)
        except Exception as error:
            # Also what the libraries below should not raise: one letter must not stop the others.
            problem = type(error).__name__
            log.warning("mail_not_sent", problem=problem)
            return problem
        return None
