"""TLS at a real Envoy: who gets in, who is told to use it, and certificates that change."""

import os
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from dormouse_control.gateway import certificates
from dormouse_control.gateway.tls import CERTIFICATE, KEY

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def trusting(tls_folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=tls_folder / CERTIFICATE)


def test_whoever_trusts_the_certificate_gets_through(
    with_tls: Any, trusting: ssl.SSLContext
) -> None:
    answer = httpx.get(f"{with_tls.url}/api/v1/me", verify=trusting)
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert with_tls.control_plane.seen[-1].headers["x-forwarded-proto"] == "https"


def test_others_do_not(with_tls: Any) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{with_tls.url}/api/v1/me")


def test_http_2_is_spoken_too(with_tls: Any, trusting: ssl.SSLContext) -> None:
    trusting.set_alpn_protocols(["h2"])
    host, port = "127.0.0.1", int(with_tls.url.rpartition(":")[2])
    with (
        socket.create_connection((host, port)) as plain,
        trusting.wrap_socket(plain, server_hostname=host) as opened,
    ):
        assert opened.selected_alpn_protocol() == "h2"
        assert opened.version() == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(with_tls: Any, trusting: ssl.SSLContext) -> None:
    trusting.minimum_version = ssl.TLSVersion.TLSv1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{with_tls.url}/api/v1/me", verify=trusting)


def test_plain_http_is_told_so_and_goes_nowhere(with_tls: Any) -> None:
    with_tls.forget()
    answer = httpx.post(
        with_tls.url.replace("https", "http") + "/v1/chat/completions",
        json={"model": "m"},
        headers={"authorization": "Bearer dm_x"},
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == "tls_required"
    assert with_tls.authorizer.seen == with_tls.control_plane.seen == []


def test_a_new_certificate_is_used_without_a_restart(
    with_tls: Any, tls_folder: Path, until: Callable[..., None]
) -> None:
    host, port = "127.0.0.1", int(with_tls.url.rpartition(":")[2])

    def served() -> str:
        return ssl.get_server_certificate((host, port))

    before = served()
    assert certificates.keep(tls_folder, ["localhost", "127.0.0.1", "new"], now=datetime.now(UTC))
    until(lambda: served() != before)
    assert served().strip() == (tls_folder / CERTIFICATE).read_text().strip()


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], bool], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return wait


def test_a_certificate_is_kept_while_it_is_good(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    names = ["localhost", "127.0.0.1", "::1", "models.example.org"]
    assert certificates.keep(folder, names, now=NOW)
    first = (folder / CERTIFICATE).read_bytes()
    assert not certificates.keep(folder, names[::-1], now=NOW + timedelta(days=330))
    assert (folder / CERTIFICATE).read_bytes() == first
    assert oct(os.stat(folder / KEY).st_mode)[-3:] == "600"


@pytest.mark.parametrize(
    "change",
    [
        lambda _: NOW + timedelta(days=340),
        lambda _: NOW - timedelta(days=1),
        lambda folder: (folder / KEY).unlink() or NOW,
        lambda folder: (folder / CERTIFICATE).write_text("spoilt") and NOW,
    ],
    ids=["nearly over", "from the future", "no key", "spoilt"],
)
def test_a_certificate_is_made_anew_when_it_is_not(
    tmp_path: Path, change: Callable[[Path], datetime]
) -> None:
    certificates.keep(tmp_path, ["localhost"], now=NOW)
    first = (tmp_path / CERTIFICATE).read_bytes()
    now = change(tmp_path)
    assert certificates.keep(tmp_path, ["localhost"], now=now)
    assert (tmp_path / CERTIFICATE).read_bytes() != first


def test_a_certificate_can_sign_no_other(tmp_path: Path) -> None:
    certificates.keep(tmp_path, ["localhost"], now=NOW)
    found = x509.load_pem_x509_certificate((tmp_path / CERTIFICATE).read_bytes())
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
