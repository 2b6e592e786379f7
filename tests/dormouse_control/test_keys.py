import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dormouse import tokens
from dormouse_control import keys


def test_each_key_verifies_only_for_its_purpose(tmp_path: Path) -> None:
    made = keys.ensure_keys(tmp_path)
    claims = {"iss": "dormouse", "aud": "dormouse", "sub": "usr_1", "iat": 0, "exp": 100}
    forged = tokens.sign(claims, typ="at+jwt", key=made.internal)

    with pytest.raises(tokens.TokenError, match="unknown signing key"):
        tokens.decode(
            forged,
            typ="at+jwt",
            audience="dormouse",
            keys=keys.key_ring(tmp_path, "access"),
            now=1,
        )


def test_keys_stay_the_same_and_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = keys.ensure_keys(folder)
    document = (folder / "jwks.json").read_bytes()
    second = keys.ensure_keys(folder)

    assert (first.access.kid, first.internal.kid) == (second.access.kid, second.internal.kid)
    assert (folder / "jwks.json").read_bytes() == document
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    names = [f"{purpose}{state}.pem" for purpose in keys.PURPOSES for state in ("", ".next")]
    assert files == dict.fromkeys([*names, "jwks.json"], 0o600)


def test_the_key_id_names_purpose_and_key(tmp_path: Path) -> None:
    made = keys.ensure_keys(tmp_path)

    assert made.access.kid.startswith("access-")
    assert len(made.access.kid) == len("access-") + 16
    assert made.access.kid in keys.key_ring(tmp_path, "access")
    assert made.access.kid not in keys.key_ring(tmp_path, "internal")


def test_processes_starting_at_once_agree_on_the_keys(
    tmp_path: Path, at_once: Callable[[int, Callable[[], Any]], list[Any]]
) -> None:
    for round in range(10):
        folder = tmp_path / str(round)
        made = at_once(8, lambda folder=folder: keys.ensure_keys(folder))

        [kids] = {(found.access.kid, found.internal.kid, found.delegated.kid) for found in made}
        listed = [each.kid for each in keys.known(folder) if each.state == "current"]
        assert listed == list(kids)


def test_a_half_made_key_of_a_killed_process_is_never_used(tmp_path: Path) -> None:
    (tmp_path / ".access.pem.1.0123456789abcdef").write_bytes(b"-----BEGIN")

    assert keys.ensure_keys(tmp_path).access
