import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dormouse import keyring
from dormouse.tokens import SigningKey, public_jwk
from dormouse_predictors import callers as callers_module
from dormouse_predictors.callers import Callers
from dormouse_predictors.errors import CallError


def test_a_token_of_ours_is_believed(keys: Any) -> None:
    claims = Callers(keys.jwks, "chat").verify(keys.token("tiny", alias="gpt", cold_start_ms=5))
    assert (claims.user, claims.model, claims.alias, claims.cold_start_ms) == (
        "usr_test",
        "tiny",
        "gpt",
        5,
    )


def test_every_other_token_is_refused(keys: Any) -> None:
    callers = Callers(keys.jwks, "chat")
    other = SigningKey(keys.key.kid, Ed25519PrivateKey.generate())
    forged = type(keys).token(type("Forger", (), {"key": other})())
    bad = ["", "a.b.c", forged, keys.token(service="other"), keys.token(expires_at=1)]
    for token in bad:
        with pytest.raises(CallError) as refused:
            callers.verify(token)
        assert refused.value.status == 401


def test_new_keys_are_read_from_the_file(keys: Any, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    stranger = public_jwk("internal-old", Ed25519PrivateKey.generate().public_key())
    path.write_text(json.dumps({"keys": [stranger]}))
    callers = Callers(path, "chat")
    with pytest.raises(CallError):
        callers.verify(keys.token())
    path.write_text(keys.jwks.read_text())
    os.utime(path, ns=(1, 1))
    assert callers.verify(keys.token())


def test_without_keys_nobody_is_believed(keys: Any, tmp_path: Path) -> None:
    with pytest.raises(CallError):
        Callers(tmp_path / "none.json", "chat").verify(keys.token())


def test_the_key_of_session_tokens_proves_nothing_here(keys: Any, tmp_path: Path) -> None:
    access = SigningKey("access-1", Ed25519PrivateKey.generate())
    ours = json.loads(keys.jwks.read_text())["keys"]
    path = tmp_path / "jwks.json"
    path.write_text(
        json.dumps({"keys": [*ours, public_jwk("access-1", access.private.public_key())]})
    )
    forged = type(keys).token(type("Forger", (), {"key": access})())
    callers = Callers(path, "chat")
    assert callers.verify(keys.token())
    with pytest.raises(CallError):
        callers.verify(forged)


@pytest.mark.parametrize("broken", ["", "{", '{"keys": [{"kty": "RSA"}]}', '{"keys": [{}]}'])
def test_a_broken_file_of_keys_leaves_the_known_ones(
    keys: Any, tmp_path: Path, broken: str
) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(keys.jwks.read_text())
    callers = Callers(path, "chat")
    callers.verify(keys.token())
    path.write_text(broken)
    os.utime(path, ns=(1, 1))
    assert callers.verify(keys.token())


def test_a_token_that_was_believed_expires_all_the_same(
    keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers = Callers(keys.jwks, "chat")
    token = keys.token(expires_at=int(time.time()) + 30)
    assert callers.verify(token) is callers.verify(token)
    later = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(CallError, match="expired"):
        callers.verify(token)


def test_a_token_is_no_longer_believed_once_its_key_is_gone(
    keys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0.0)
    path = tmp_path / "jwks.json"
    path.write_text(keys.jwks.read_text())
    callers, token = Callers(path, "chat"), keys.token()
    assert callers.verify(token)
    stranger = public_jwk("internal-next", Ed25519PrivateKey.generate().public_key())
    path.write_text(json.dumps({"keys": [stranger]}))
    with pytest.raises(CallError, match="unknown signing key"):
        callers.verify(token)
    other = public_jwk(keys.key.kid, Ed25519PrivateKey.generate().public_key())
    path.write_text(json.dumps({"keys": [other, stranger]}))
    with pytest.raises(CallError, match="signature"):
        callers.verify(token)


def test_tokens_that_are_known_are_not_kept_for_ever(
    keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers_module, "MOST_KNOWN", 3)
    callers = Callers(keys.jwks, "chat")
    for number in range(10):
        assert callers.verify(keys.token(user=f"usr_{number}")).user == f"usr_{number}"
        assert len(callers._known) <= 3
