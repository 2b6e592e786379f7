"""Signing keys are replaced while everybody works, and nobody is refused for it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse.tokens import InternalClaims, sign_internal
from dormouse_control import keys
from dormouse_control.authorizer.credentials import Credentials
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.db import THREADS
from dormouse_control.wiring import Platform
from dormouse_predictors.callers import Callers
from fixtures.control_plane import Account
from fixtures.forgery import Forgery


def _refresh(client: TestClient, account: Account, stop: threading.Event, said: list[int]) -> None:
    """A caller who refreshes and calls, with the token of a moment ago too."""
    before = account.access_token
    while not stop.is_set():
        refresh = {"refresh_token": account.refresh_token}
        answer = client.post("/api/v1/sessions/refresh", json=refresh)
        said.append(answer.status_code)
        pair = answer.json()
        account.access_token, account.refresh_token = pair["access_token"], pair["refresh_token"]
        for token in (before, account.access_token):
            headers = {"authorization": f"Bearer {token}"}
            said.append(client.get("/api/v1/me", headers=headers).status_code)
        before = account.access_token


def _verify(platform: Platform, account: Account, stop: threading.Event, said: list[int]) -> None:
    """The gateway's side and a predictor's, each with keys that they read long ago."""
    folder = platform.settings.keys_folder
    credentials = Credentials(keys.key_ring(folder, "access"))
    callers = Callers(folder / keys.JWKS, "chat")
    signer = keys.Signer(folder, "internal")
    while not stop.is_set():
        now = int(time.time())
        claims = InternalClaims("usr_1", "key_1", "chat", "small", 1, now + 60)
        token = sign_internal(claims, key=signer(), now=now)
        try:
            credentials.read(f"Bearer {account.access_token}")
            said.append(200)
        except Refusal as refusal:
            said.append(refusal.status)
        time.sleep(0.001)
        callers.verify(token)
        said.append(200)


def _rotate_under_load(
    platform: Platform, accounts: list[Account], *, every: float, seconds: float
) -> tuple[int, list[int]]:
    stop, said = threading.Event(), list[int]()
    work: list[threading.Thread] = []
    for account in accounts:
        arguments = (account.client, account, stop, said)
        work.append(threading.Thread(target=_refresh, args=arguments))
    work.append(threading.Thread(target=_verify, args=(platform, accounts[0], stop, said)))
    for thread in work:
        thread.start()
    end, rotations = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        keys.rotate(platform.settings.keys_folder, now=time.time())
        rotations += 1
        time.sleep(every)
    stop.set()
    for thread in work:
        thread.join()
    return rotations, said


@pytest.fixture
def accounts(clock: Any, sign_up: Callable[..., Account]) -> Callable[[int], list[Account]]:
    clock.advance(seconds=time.time() - clock().timestamp())
    return lambda count: [sign_up(f"user-{number}@example.org") for number in range(count)]


def test_t10_nobody_is_refused_while_keys_are_replaced(
    platform: Platform, accounts: Any, say: Callable[[str], None]
) -> None:
    rotations, said = _rotate_under_load(platform, accounts(4), every=0.1, seconds=2)

    assert set(said) == {200}
    assert rotations >= 5
    assert len(said) > 100
    say(f"signing keys: {rotations} rotations under {len(said)} checks, none refused")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_t10_nobody_is_refused_in_a_minute_of_rotations(
    platform: Platform, accounts: Any, say: Callable[[str], None]
) -> None:
    # As many as the control plane serves at once; more would only wait for the database.
    rotations, said = _rotate_under_load(platform, accounts(THREADS), every=0.2, seconds=60)

    assert set(said) == {200}
    say(f"signing keys: {rotations} rotations under {len(said)} checks, none refused")


def test_t10_a_flood_of_unknown_key_ids_reads_no_file(
    platform: Platform, ada: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgery = Forgery.of(platform, ada)
    credentials = Credentials(platform.access_keys)
    len(platform.access_keys)
    reads: list[Path] = []
    read_text = Path.read_text

    def spy(path: Path, *more: Any) -> str:
        reads.append(path)
        return read_text(path, *more)

    monkeypatch.setattr(Path, "read_text", spy)
    for number in range(1000):
        with pytest.raises(Refusal):
            credentials.read(f"Bearer {forgery.with_header(kid=f'access-{number}')}")

    assert reads == []


def test_t10_a_key_of_which_nothing_valid_is_left_is_refused(
    platform: Platform, accounts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dormouse.keyring.LOOK_SECONDS", 0)
    [ada] = accounts(1)
    folder, now = platform.settings.keys_folder, time.time()
    keys.rotate(folder, now=now)
    assert ada.get("/api/v1/me").status_code == 200

    keys.forget_retired(folder, now=now + keys.RETIRED_SECONDS)

    assert ada.get("/api/v1/me").status_code == 401
    with pytest.raises(Refusal):
        Credentials(keys.key_ring(folder, "access")).read(f"Bearer {ada.access_token}")
