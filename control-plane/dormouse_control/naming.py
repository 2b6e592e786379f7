"""Names that we give: ids of things, and ids of signing keys.

An id is a prefix that says what it is, then 26 lower-case base32 characters that sort by time.
"""

import hashlib
import secrets
import time
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Prefix = Literal[
    "usr", "key", "ses", "ent", "grp", "inv", "ott", "rec", "oid", "msg", "bud", "lse", "req"
]

# Crockford's alphabet: in ASCII order, without i, l, o and u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_CHARACTERS = 26


def new_id(prefix: Prefix) -> str:
    """48 bits of milliseconds, then 80 random ones: never given twice."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    shifts = range(5 * (_CHARACTERS - 1), -1, -5)
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in shifts)


def key_id(purpose: str, public: Ed25519PublicKey) -> str:
    """The `kid` of a signing key; the purpose in it keeps session and internal keys apart."""
    return f"{purpose}-{hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]}"
