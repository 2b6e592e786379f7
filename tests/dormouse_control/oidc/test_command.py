"""`dormouse login --provider`, a real browser's part played by httpx, and a real provider."""

import socket
import threading
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from dormouse.cli.main import app
from dormouse_control.app import public_app
from dormouse_control.oidc.provider import Providers
from dormouse_control.settings import Settings
from dormouse_control.wiring import Platform
from fixtures.oidc import MockProvider


@pytest.fixture
def served(platform: Platform, settings: Settings) -> Iterator[str]:
    """The control plane at an address of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    there = replace(
        platform,
        settings=settings.model_copy(update={"public_url": url}),
        providers=Providers(settings.oidc_providers, public_url=url, clock=platform.clock),
    )
    server = uvicorn.Server(uvicorn.Config(public_app(there), lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield url
    server.should_exit = True
    thread.join()
    listener.close()


def test_the_command_signs_in_through_a_real_provider(
    served: str,
    mock_provider: MockProvider,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    mock_provider.person("cli", email="cli@example.org", email_verified=True)
    last: list[httpx.Response] = []

    def surf(address: str) -> None:
        with httpx.Client() as browser:
            there = browser.get(address).headers["location"]
            assert browser.get(there).status_code == 200
            answer = browser.post(there, data={"sub": "cli"})
            while answer.is_redirect:
                answer = browser.get(urljoin(str(answer.url), answer.headers["location"]))
            last.append(answer)

    surfer: list[threading.Thread] = []

    def open_(address: str) -> bool:
        surfer.append(threading.Thread(target=surf, args=(address,)))
        surfer[0].start()
        return True

    monkeypatch.setattr(webbrowser, "open", open_)
    monkeypatch.setenv("DORMOUSE_BASE_URL", served)
    monkeypatch.setenv("DORMOUSE_CREDENTIALS", str(tmp_path / "credentials.json"))

    done = CliRunner().invoke(app, ["login", "--provider", "mock"])
    surfer[0].join()

    assert done.exit_code == 0, done.stderr
    # Between lines of the server's log, which is in this process.
    assert f"Signed in as cli@example.org at {served}.\n" in done.stdout
    assert "You are signed in" in last[0].text
    assert CliRunner().invoke(app, ["services"]).exit_code == 0
