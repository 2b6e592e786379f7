"""Refresh tokens, `family.seq.mac`: nothing of them is stored, every one can be made again.

`mac` binds family and number to a key that only the control plane has. Which number of a family is
valid, and what happens with the others, is decided in `rotation`.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

_FORM = re.compile(r"(ses_[0-9a-z]{26})\.(0|[1-9][0-9]{0,8})\.([0-9A-Za-z_-]{43})", re.ASCII)


@dataclass(frozen=True)
class RefreshToken:
    family: str
    seq: int


def write(token: RefreshToken, key: bytes) -> str:
    named = f"{token.family}.{token.seq}"
    mac = hmac.digest(key, f"dormouse refresh {named}".encode(), hashlib.sha256)
    return f"{named}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def read(text: str, key: bytes) -> RefreshToken | None:
    """None if we never gave out exactly this text."""
    parts = _FORM.fullmatch(text)
    if parts is None:
        return None
    token = RefreshToken(family=parts[1], seq=int(parts[2]))
    # Texts, not bytes: base64 can write the same bytes in several ways.
    return token if hmac.compare_digest(write(token, key), text) else None
