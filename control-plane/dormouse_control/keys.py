"""The signing keys in `home/keys`: who makes them, who reads which half, how they are replaced.

The control plane signs session tokens with `access.pem`, and with `delegated.pem` those of calls
that it makes for users; the authorizer internal tokens with `internal.pem`. Beside each lies the
next one, and `jwks.json` has all public halves: those that sign, those that will, and those that
did until everything they signed has expired (`retired.json`).

A rotation is one rename, of the next key over the current one. Whatever it needs is on disk before
and whatever is missing after it is made by `ensure_keys`, so it may be killed anywhere.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal  # files are JSON

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dormouse.keyring import KeyRing
from dormouse.tokens import SigningKey, public_jwk
from dormouse_control.naming import key_id
from dormouse_control.private_files import locked, make_once, sync_folder, write

Purpose = Literal["access", "internal", "delegated"]
State = Literal["current", "next", "retired"]

PURPOSES: tuple[Purpose, ...] = ("access", "internal", "delegated")
JWKS = "jwks.json"
RETIRED = "retired.json"

RETIRED_SECONDS = 3600 + 60
"""Longer than the longest life that the settings allow for a token."""


@dataclass(frozen=True)
class Keys:
    access: SigningKey
    internal: SigningKey
    delegated: SigningKey


@dataclass(frozen=True)
class Known:
    """A key as everybody may see it; in seconds since 1970, `since` when it has been so."""

    kid: str
    purpose: Purpose
    state: State
    since: float


class Signer:
    """The key that signs for a purpose at this moment, read again when the file is another."""

    def __init__(self, folder: Path, purpose: Purpose) -> None:
        self._folder = folder
        self._purpose = purpose
        self._seen = self._look()
        self._key = load_signing_key(folder, purpose)

    def __call__(self) -> SigningKey:
        try:
            seen = self._look()
            if seen != self._seen:
                self._key = load_signing_key(self._folder, self._purpose)
                self._seen = seen
        except (OSError, ValueError):
            pass  # the key that we have still verifies
        return self._key

    def _look(self) -> tuple[int, int]:
        found = _file(self._folder, self._purpose, "current").stat()
        return found.st_ino, found.st_mtime_ns


def ensure_keys(folder: Path) -> Keys:
    """The machine's keys, made if they are missing. Safe to call from several processes at once."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder):
        _complete(folder)
        return Keys(*(load_signing_key(folder, purpose) for purpose in PURPOSES))


def rotate(folder: Path, purposes: Sequence[Purpose] = PURPOSES, *, now: float) -> None:
    """Let the next keys sign from now on. What the ones before have signed stays valid."""
    with locked(folder):
        _complete(folder)
        for purpose in purposes:
            old = load_signing_key(folder, purpose)
            _write_retired(folder, [*_read_retired(folder), _retired(old, purpose, now)])
            new = _file(folder, purpose, "next")
            os.utime(new, (now, now))
            os.replace(new, _file(folder, purpose, "current"))
            sync_folder(folder)
            _complete(folder)


def forget_retired(folder: Path, *, now: float) -> None:
    """Take out of the JWKS document those keys of which nothing valid can be left."""
    with locked(folder):
        kept = [each for each in _read_retired(folder) if each["at"] + RETIRED_SECONDS > now]
        if kept != _read_retired(folder):
            _write_retired(folder, kept)
        _complete(folder)


def known(folder: Path) -> list[Known]:
    """All keys, without their private halves."""
    found = []
    for purpose in PURPOSES:
        for state in ("current", "next"):
            file = _file(folder, purpose, state)
            found.append(Known(_load(file, purpose).kid, purpose, state, file.stat().st_mtime))
    for each in _read_retired(folder):
        found.append(Known(each["jwk"]["kid"], each["purpose"], "retired", each["at"]))
    return found


def load_signing_key(folder: Path, purpose: Purpose) -> SigningKey:
    """The private half for one purpose. Raises OSError or ValueError."""
    return _load(_file(folder, purpose, "current"), purpose)


def key_ring(folder: Path, purpose: Purpose) -> KeyRing:
    """Key id -> public half of the keys made for this purpose: none may verify for another."""
    return KeyRing(folder / JWKS, f"{purpose}-")


def _file(folder: Path, purpose: Purpose, state: Literal["current", "next"]) -> Path:
    return folder / (f"{purpose}.pem" if state == "current" else f"{purpose}.next.pem")


def _load(file: Path, purpose: Purpose) -> SigningKey:
    private = load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"{file} is not an Ed25519 key")
    return SigningKey(key_id(purpose, private.public_key()), private)


def _complete(folder: Path) -> None:
    """Make what is missing, whatever a killed process left, and publish all public halves."""
    published = {each["jwk"]["kid"]: each["jwk"] for each in _read_retired(folder)}
    for purpose in PURPOSES:
        for state in ("current", "next"):
            file = _file(folder, purpose, state)
            make_once(file, _new_pem)
            key = _load(file, purpose)
            published[key.kid] = public_jwk(key.kid, key.private.public_key())
    write(folder / JWKS, _json({"keys": list(published.values())}), shared=True)


def _retired(key: SigningKey, purpose: Purpose, now: float) -> dict[str, Any]:
    jwk = public_jwk(key.kid, key.private.public_key())
    return {"purpose": purpose, "at": now, "jwk": jwk}


def _read_retired(folder: Path) -> list[dict[str, Any]]:
    """Without what a killed rotation retired too early: its key signs still."""
    try:
        found: list[dict[str, Any]] = json.loads((folder / RETIRED).read_text("utf-8"))
    except FileNotFoundError:
        return []
    signing = {load_signing_key(folder, purpose).kid for purpose in PURPOSES}
    return [each for each in found if each["jwk"]["kid"] not in signing]


def _write_retired(folder: Path, retired: list[dict[str, Any]]) -> None:
    write(folder / RETIRED, _json(retired))


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def _new_pem() -> bytes:
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
