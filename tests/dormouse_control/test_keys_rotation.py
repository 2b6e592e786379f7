"""Signing keys are replaced while tokens are in use, and nobody is refused for it."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dormouse import keyring, tokens
from dormouse.keyring import KeyRing
from dormouse_control import keys

NOW = 1_800_000_000


def signed(key: tokens.SigningKey) -> str:
    claims = {"iss": "dormouse", "aud": "dormouse", "sub": "usr_1", "iat": NOW, "exp": NOW + 600}
    return tokens.sign(claims, typ="at+jwt", key=key)


def verify(token: str, ring: KeyRing) -> dict[str, Any]:
    return tokens.decode(token, typ="at+jwt", audience="dormouse", keys=ring, now=NOW)


def states(folder: Path) -> list[tuple[str, str]]:
    return sorted((each.purpose, each.state) for each in keys.known(folder))


def test_the_next_key_is_published_before_it_signs(tmp_path: Path) -> None:
    keys.ensure_keys(tmp_path)
    signer, ring = keys.Signer(tmp_path, "access"), keys.key_ring(tmp_path, "access")
    before = signed(signer())
    published = set(ring)

    keys.rotate(tmp_path, now=NOW)

    after = signer()
    assert after.kid in published
    assert verify(before, ring)
    assert verify(signed(after), ring)
    assert states(tmp_path) == sorted(
        (purpose, state) for purpose in keys.PURPOSES for state in ("current", "next", "retired")
    )


def test_one_purpose_can_be_rotated_alone(tmp_path: Path) -> None:
    before = keys.ensure_keys(tmp_path)
    keys.rotate(tmp_path, ["internal"], now=NOW)
    after = keys.ensure_keys(tmp_path)

    assert before.access.kid == after.access.kid
    assert before.internal.kid != after.internal.kid


def test_the_time_of_a_key_is_when_it_began_to_sign(tmp_path: Path) -> None:
    keys.ensure_keys(tmp_path)
    keys.rotate(tmp_path, now=NOW)

    since = {each.state: each.since for each in keys.known(tmp_path) if each.purpose == "access"}
    assert (since["current"], since["retired"]) == (NOW, NOW)


def test_a_retired_key_is_refused_when_all_it_signed_has_expired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0)
    keys.ensure_keys(tmp_path)
    ring = keys.key_ring(tmp_path, "access")
    old = signed(keys.Signer(tmp_path, "access")())
    keys.rotate(tmp_path, now=NOW)

    keys.forget_retired(tmp_path, now=NOW + keys.RETIRED_SECONDS - 1)
    assert verify(old, ring)
    keys.forget_retired(tmp_path, now=NOW + keys.RETIRED_SECONDS)

    with pytest.raises(tokens.TokenError, match="unknown signing key"):
        verify(old, ring)


def test_a_ring_hears_of_a_lost_key_within_a_second(tmp_path: Path) -> None:
    keys.ensure_keys(tmp_path)
    ring = keys.key_ring(tmp_path, "access")
    old = signed(keys.Signer(tmp_path, "access")())
    verify(old, ring)
    keys.rotate(tmp_path, now=NOW)
    keys.forget_retired(tmp_path, now=NOW + keys.RETIRED_SECONDS)

    time.sleep(keyring.LOOK_SECONDS)
    with pytest.raises(tokens.TokenError, match="unknown signing key"):
        verify(old, ring)


def test_key_ids_that_nobody_knows_cost_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.ensure_keys(tmp_path)
    ring = keys.key_ring(tmp_path, "access")
    len(ring)
    reads: list[Path] = []
    monkeypatch.setattr(Path, "read_text", lambda path, *_: reads.append(path))

    for number in range(2000):
        assert ring.get(f"access-{number}") is None

    assert reads == []


def test_a_file_that_cannot_be_read_is_tried_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jwks.json").write_text("{")
    ring = keys.key_ring(tmp_path, "access")
    reads: list[Path] = []
    read_text = Path.read_text

    def spy(path: Path, *more: Any) -> str:
        reads.append(path)
        return read_text(path, *more)

    monkeypatch.setattr(Path, "read_text", spy)

    for number in range(2000):
        assert ring.get(f"access-{number}") is None

    assert len(reads) <= 2


def test_the_folder_holds_nothing_that_others_may_read(tmp_path: Path) -> None:
    keys.ensure_keys(tmp_path)
    keys.rotate(tmp_path, now=NOW)

    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


_ROTATE_FOR_EVER = """
import sys, time, pathlib
from dormouse_control import keys
folder = pathlib.Path(sys.argv[1])
print("ready", flush=True)
while True:
    keys.rotate(folder, now=time.time())
"""


@pytest.mark.parametrize("seed", range(5))
def test_a_rotation_that_is_killed_leaves_keys_that_work(tmp_path: Path, seed: int) -> None:
    keys.ensure_keys(tmp_path)
    signer, ring = keys.Signer(tmp_path, "access"), keys.key_ring(tmp_path, "access")
    command = [sys.executable, "-c", _ROTATE_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05 + seed * 0.0071)
        process.kill()

    published = set(KeyRing(tmp_path / "jwks.json", "access-"))
    assert keys.load_signing_key(tmp_path, "access").kid in published
    assert verify(signed(signer()), ring)
    keys.ensure_keys(tmp_path)
    assert {state for _, state in states(tmp_path)} == {"current", "next", "retired"}
    keys.rotate(tmp_path, now=time.time())
    assert verify(signed(signer()), ring)


def _writes(monkeypatch: pytest.MonkeyPatch, stop_at: int) -> None:
    """The process `dies` at its `stop_at`th change of the folder."""
    changes = iter(range(1000))
    for name in ("replace", "link"):
        real = getattr(os, name)

        def change(*arguments: Any, real: Any = real) -> None:
            if next(changes) == stop_at:
                raise KeyboardInterrupt
            real(*arguments)

        monkeypatch.setattr(os, name, change)


@pytest.mark.parametrize("stop_at", range(8))
def test_every_step_of_a_rotation_may_be_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    keys.ensure_keys(tmp_path)
    signer, ring = keys.Signer(tmp_path, "access"), keys.key_ring(tmp_path, "access")
    before = signed(signer())
    with monkeypatch.context() as patch:
        _writes(patch, stop_at)
        with pytest.raises(KeyboardInterrupt):
            keys.rotate(tmp_path, now=NOW)

    assert verify(before, ring)
    assert verify(signed(signer()), ring)
    keys.ensure_keys(tmp_path)
    assert verify(before, ring)
    assert verify(signed(signer()), ring)
