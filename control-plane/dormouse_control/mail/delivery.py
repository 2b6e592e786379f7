"""Where mail goes: to an SMTP server, or into a file of this machine if none is set."""

import os
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from dormouse_control.mail.messages import Message
from dormouse_control.settings import Settings

_TIMEOUT_SECONDS = 30.0
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class Delivery(Protocol):
    def send(self, message: Message) -> None:
        """Raises OSError (smtplib's errors are) or ValueError if it could not be handed over."""


def delivery(settings: Settings) -> Delivery:
    if settings.smtp_url is None:
        return File(settings.home / "logs" / "mail.log", sender=settings.mail_from)
    return Smtp(urlsplit(settings.smtp_url), sender=settings.mail_from)


@dataclass(frozen=True)
class File:
    """For one machine: whoever may read its files may read everybody's mail."""

    path: Path
    sender: str

    def send(self, message: Message) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(handle, "ab") as file:
            file.write(_letter(message, self.sender).as_bytes() + b"\n")


class Smtp:
    """One connection a message. Certificates are verified; settings see to it that a password
    goes through TLS only.
    """

    def __init__(
        self, server: SplitResult, *, sender: str, trust: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._sender = sender
        self._trust = trust or ssl.create_default_context()

    def send(self, message: Message) -> None:
        with self._connected() as smtp:
            if self._server.scheme == "smtp+starttls":
                smtp.starttls(context=self._trust)
            if self._server.username:
                smtp.login(unquote(self._server.username), unquote(self._server.password or ""))
            smtp.send_message(_letter(message, self._sender), self._sender, [message.to])

    def _connected(self) -> smtplib.SMTP:
        host, port = self._server.hostname or "", self._server.port or _PORTS[self._server.scheme]
        if self._server.scheme == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_SECONDS, context=self._trust)
        return smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS)


def _letter(message: Message, sender: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"] = sender
    letter["To"] = message.to
    letter["Subject"] = message.subject
    letter["Date"] = formatdate()
    letter["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or None)
    # Answers of machines ("I am on holiday") must not come back to us (RFC 3834).
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text, cte="8bit")
    return letter
