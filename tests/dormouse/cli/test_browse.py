import json
import threading
import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from dormouse.browser import BrowserSignIn
from dormouse.cli import browse
from dormouse.errors import SignInError

URL = "https://dormouse.example/api/v1/providers/company/authorize"


@pytest.fixture
def provider(platform: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """One provider; the browser comes back at once. The proofs that were sent."""
    item = {"name": "company", "title": "The Company", "url": URL}
    page = {"items": [item], "next": None}
    platform.always("GET", "/api/v1/providers", lambda _, reply: reply.json(200, page))
    proofs: list[dict[str, str]] = []

    def exchange(request: Any, reply: Any) -> None:
        proofs.append(request.body)
        with platform.lock:
            pair = platform.pair("ada@example.org")
        reply.json(201, pair)

    platform.always("POST", "/api/v1/sessions/code", exchange)
    _browser_answers(monkeypatch, {"code": "ott_1"})
    return proofs


def _browser_answers(monkeypatch: pytest.MonkeyPatch, result: dict[str, str]) -> None:
    def open_(address: str) -> bool:
        redirect = parse_qs(urlsplit(address).query)["redirect"][0]
        threading.Thread(target=lambda: httpx.get(redirect, params=result)).start()
        return True

    monkeypatch.setattr(webbrowser, "open", open_)


def test_providers_are_listed(run: Any, provider: Any) -> None:
    assert provider == []
    assert "The Company" in run("providers").stdout
    assert json.loads(run("providers", "--json").stdout)["items"][0]["name"] == "company"


def test_signing_in_with_a_browser_keeps_the_session(
    platform: Any, run: Any, provider: list[dict[str, str]], credentials: Path
) -> None:
    done = run("login", "--provider", "company")

    assert (done.exit_code, done.stdout) == (
        0,
        f"Signed in as ada@example.org at {platform.url}.\n",
    ), done.stderr
    assert URL in done.stderr
    (proof,) = provider
    assert proof["code"] == "ott_1"
    assert len(proof["verifier"]) == 43
    (stored,) = json.loads(credentials.read_text())["servers"].values()
    assert stored["email"] == "ada@example.org"
    assert run("services").exit_code == 0


def test_a_sign_in_that_the_provider_refused_is_said(
    run: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _browser_answers(monkeypatch, {"error": "link_by_hand"})

    done = run("login", "--provider", "company")

    assert done.exit_code == 1
    assert "(link_by_hand). Sign in by your password" in done.stderr
    assert provider == []


def test_a_provider_that_is_not_there_is_said_before_a_browser_opens(
    run: Any, provider: Any
) -> None:
    done = run("login", "--provider", "other")

    assert done.exit_code == 2
    assert "there are: company" in done.stderr
    assert provider == []


def test_a_provider_and_a_password_do_not_go_together(run: Any) -> None:
    assert run("login", "--provider", "x", "--email", "ada@example.org").exit_code == 2


def test_waiting_ends(run: Any, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider == []
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    monkeypatch.setattr(browse, "PATIENCE_SECONDS", 0.01)

    done = run("login", "--provider", "company")

    assert done.exit_code == 1
    assert "(sign_in_timeout)" in done.stderr


def test_other_pages_cannot_send_a_result() -> None:
    with BrowserSignIn() as browser:
        address = browser.address(URL)
        redirect = parse_qs(urlsplit(address).query)["redirect"][0]
        root = redirect.rpartition("/")[0]
        for wrong in (f"{root}/?code=x", f"{root}/favicon.ico", redirect):
            assert httpx.get(wrong).status_code == 404
        with pytest.raises(SignInError, match="in time"):
            browser.wait(0.01)

        shown = httpx.get(f"{redirect}?error=<script>")
        assert "script" not in shown.text
        with pytest.raises(SignInError) as caught:
            browser.wait(1)
    assert caught.value.code == "<script>"


def test_it_listens_on_this_machine_only_and_its_address_holds_no_secret() -> None:
    with BrowserSignIn() as browser:
        assert browser._server.server_address[0] == "127.0.0.1"
        assert browser.verifier not in browser.address(URL)
