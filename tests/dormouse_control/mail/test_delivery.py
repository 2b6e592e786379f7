"""Handing mail over: to real SMTP servers with and without TLS, and into the file."""

import asyncio
import ipaddress
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from dormouse_control.mail.delivery import File, Smtp, delivery
from dormouse_control.mail.messages import Message
from dormouse_control.settings import Settings

MESSAGE = Message(to="ada@example.org", subject="Dormouse: hello", text="A line.\n.\nÄnd more.\n")


class Postman:
    """What an SMTP server received."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 OK"


class Server:
    """aiosmtpd's protocol on a free port, in a thread."""

    def __init__(self, postman: Postman, *, tls: ssl.SSLContext | None, **smtp: Any) -> None:
        self._loop = asyncio.new_event_loop()
        made = self._loop.create_server(
            lambda: SMTP(postman, hostname="mail", loop=self._loop, **smtp),
            host="127.0.0.1",
            port=0,
            ssl=tls,
        )
        self._server = self._loop.run_until_complete(made)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()  # not before: its loop may be closing it too
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()


@pytest.fixture
def postman() -> Postman:
    return Postman()


@pytest.fixture
def serve(postman: Postman) -> Iterator[Callable[..., Server]]:
    with ExitStack() as running:

        def start(*, tls: ssl.SSLContext | None = None, **smtp: Any) -> Server:
            server = Server(postman, tls=tls, **smtp)
            running.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1, signed by itself; the key stands in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "mail.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(signed.public_bytes(Encoding.PEM) + secret)
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def smtp(url: str, certificate: Path | None = None) -> Smtp:
    trust = ssl.create_default_context(cafile=certificate) if certificate else None
    return Smtp(urlsplit(url), sender="dormouse@example.com", trust=trust)


def test_plain_smtp(serve: Callable[..., Server], postman: Postman) -> None:
    smtp(f"smtp://{serve().address}").send(MESSAGE)

    (envelope,) = postman.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("dormouse@example.com", ["ada@example.org"])
    assert isinstance(envelope.content, bytes)
    letter = message_from_bytes(envelope.content, policy=policy.default)
    assert (letter["To"], letter["From"]) == ("ada@example.org", "dormouse@example.com")
    assert (letter["Subject"], letter["Auto-Submitted"]) == ("Dormouse: hello", "auto-generated")
    assert letter.get_content_type() == "text/plain"
    body = letter.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == MESSAGE.text


def test_tls_from_the_first_byte(
    serve: Callable[..., Server], postman: Postman, tls: ssl.SSLContext, certificate: Path
) -> None:
    smtp(f"smtps://{serve(tls=tls).address}", certificate).send(MESSAGE)

    assert len(postman.envelopes) == 1


def signed_in(_server: object, _session: object, _envelope: object, _how: str, data: Any) -> Any:
    assert isinstance(data, LoginPassword)
    right = (data.login, data.password) == (b"dormouse", b"p@ss word")
    return AuthResult(success=right, handled=False)


def test_starttls_and_a_password(
    serve: Callable[..., Server], postman: Postman, tls: ssl.SSLContext, certificate: Path
) -> None:
    server = serve(
        tls_context=tls, require_starttls=True, authenticator=signed_in, auth_required=True
    )

    smtp(f"smtp+starttls://dormouse:p%40ss%20word@{server.address}", certificate).send(MESSAGE)
    with pytest.raises(OSError, match="535"):
        smtp(f"smtp+starttls://dormouse:wrong@{server.address}", certificate).send(MESSAGE)

    assert len(postman.envelopes) == 1


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_a_server_that_nobody_vouches_for_gets_nothing(
    serve: Callable[..., Server], postman: Postman, tls: ssl.SSLContext, scheme: str
) -> None:
    server = serve(tls=tls) if scheme == "smtps" else serve(tls_context=tls)

    with pytest.raises(ssl.SSLCertVerificationError):
        smtp(f"{scheme}://{server.address}").send(MESSAGE)

    assert postman.envelopes == []


def test_a_server_without_starttls_gets_nothing(
    serve: Callable[..., Server], postman: Postman
) -> None:
    with pytest.raises(OSError, match="STARTTLS"):
        smtp(f"smtp+starttls://u:p@{serve().address}").send(MESSAGE)

    assert postman.envelopes == []


@pytest.mark.parametrize(
    "url",
    [
        "smtp://user:password@host",
        "smtps+starttls://host",
        "smtps://:25",
        "smtps://host:port",
        "smtps://host:0",
        "http://host",
    ],
)
def test_bad_addresses_of_servers_are_refused_at_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="smtp_url") as refused:
        Settings(home=tmp_path, smtp_url=url)
    assert "password@" not in str(refused.value)


def test_nobody_there_is_an_oserror() -> None:
    with pytest.raises(OSError, match="refused"):
        smtp("smtp://127.0.0.1:1").send(MESSAGE)


def test_without_a_server_mail_is_kept_in_a_private_file(tmp_path: Path) -> None:
    kept = delivery(Settings(home=tmp_path))
    assert isinstance(kept, File)
    for _ in range(2):
        kept.send(MESSAGE)

    file = tmp_path / "logs" / "mail.log"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text("utf-8").count(MESSAGE.text) == 2


@pytest.mark.parametrize("address", ["ada@example.org\nBcc: eve@example.org", "a\r@example.org"])
def test_an_address_cannot_add_headers(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match="linefeed"):
        delivery(Settings(home=tmp_path)).send(Message(to=address, subject="x", text="x"))
