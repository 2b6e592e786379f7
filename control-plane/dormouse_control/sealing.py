"""What only the control plane can write and read: MACs that prove a text is ours, sealed bytes.

One secret in the keys folder; a key for each purpose is derived from it (HKDF, RFC 5869), so that
nothing made for one purpose is worth anything for another.
"""

import base64
import hashlib
import hmac
import os
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


class Sealing:
    """Thread-safe. `purpose` is a fixed text of ours, never what somebody sent."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def mac(self, purpose: str, text: str) -> str:
        """43 characters of base64url."""
        found = hmac.digest(self._key(f"mac {purpose}"), text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(found).rstrip(b"=").decode()

    def is_mac(self, purpose: str, text: str, mac: str) -> bool:
        # Texts, not bytes: base64 can write the same bytes in several ways.
        return hmac.compare_digest(self.mac(purpose, text).encode(), mac.encode("utf-8", "replace"))

    def seal(self, purpose: str, content: bytes) -> str:
        """Encrypted and authenticated (AES-256-GCM), as text."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, content, purpose.encode())
        return base64.b64encode(nonce + sealed).decode()

    def unseal(self, purpose: str, text: str) -> bytes:
        """Raises ValueError if it was not sealed here for this purpose."""
        raw = base64.b64decode(text, validate=True)
        try:
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode())
        except InvalidTag:
            raise ValueError("not sealed by this control plane") from None

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self._key("seal"))

    def _key(self, label: str) -> bytes:
        derivation = HKDF(SHA256(), length=32, salt=None, info=f"dormouse {label}".encode())
        return derivation.derive(self._secret)
