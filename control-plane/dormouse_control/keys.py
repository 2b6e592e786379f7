"""The signing keys in `home/keys`: who makes them, and who reads which half.

`access.pem` signs session tokens (control plane), `internal.pem` internal tokens (authorizer),
`jwks.json` holds both public halves for everybody who verifies.
"""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dormouse.tokens import SigningKey, public_jwk, read_jwks
from dormouse_control.naming import key_id

Purpose = Literal["access", "internal"]
JWKS = "jwks.json"


@dataclass(frozen=True)
class Keys:
    access: SigningKey
    internal: SigningKey


def ensure_keys(folder: Path) -> Keys:
    """The machine's keys, made if they are missing. Safe to call from several processes at once."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for purpose in ("access", "internal"):
        _create(folder / f"{purpose}.pem", _new_pem)
    keys = Keys(load_signing_key(folder, "access"), load_signing_key(folder, "internal"))
    _publish(folder / JWKS, [keys.access, keys.internal])
    return keys


def ensure_secret(path: Path) -> bytes:
    """32 random bytes kept in `path`, made if they are missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _create(path, lambda: secrets.token_bytes(32))
    return path.read_bytes()


def load_signing_key(folder: Path, purpose: Purpose) -> SigningKey:
    """The private half for one purpose. Raises OSError or ValueError."""
    private = load_pem_private_key((folder / f"{purpose}.pem").read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"{folder}/{purpose}.pem is not an Ed25519 key")
    return SigningKey(key_id(purpose, private.public_key()), private)


def load_public_keys(folder: Path, purpose: Purpose) -> dict[str, Ed25519PublicKey]:
    """Key id -> public half of the keys made for this purpose: none may verify for the other."""
    return {
        kid: key for kid, key in read_jwks(jwks(folder)).items() if kid.startswith(f"{purpose}-")
    }


def jwks(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The JWKS document with all public halves."""
    found: dict[str, list[dict[str, str]]] = json.loads((folder / JWKS).read_text("utf-8"))
    return found


def _new_pem() -> bytes:
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _create(path: Path, make: Callable[[], bytes]) -> None:
    """A link is made whole or not at all, and never over a file that another process made first."""
    if path.exists():
        return
    draft = _draft(path, make())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _publish(path: Path, keys: list[SigningKey]) -> None:
    document = {"keys": [public_jwk(key.kid, key.private.public_key()) for key in keys]}
    content = json.dumps(document, indent=2).encode() + b"\n"
    if not path.exists() or path.read_bytes() != content:
        os.replace(_draft(path, content), path)
        _sync_folder(path.parent)


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
