"""Codes of an authenticator app (TOTP, RFC 6238): six digits that change every 30 seconds."""

import re
from datetime import datetime

import pyotp
from pyotp.exceptions import OTPVerificationError

ISSUER = "Dormouse"
_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_STEPS_OFF = 1
"""So far may the clock of a phone be from ours."""


def new_secret() -> str:
    """160 bits in base32, as apps want it."""
    return pyotp.random_base32()


def uri(secret: str, email: str) -> str:
    """What a QR code for an authenticator app holds."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def is_code(text: str) -> bool:
    return _CODE.fullmatch(text) is not None


def step_of(secret: str, code: str, *, now: datetime) -> int | None:
    """The time step that the code belongs to; None if it is not a code of this moment."""
    if not is_code(code):
        return None
    try:
        return pyotp.TOTP(secret).verify_and_get_timecode(
            code, for_time=now.timestamp(), valid_window=_STEPS_OFF
        )
    except OTPVerificationError:
        return None
