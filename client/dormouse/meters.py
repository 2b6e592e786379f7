"""Meters: what predictors tell the authorizer that admitted their calls, many times a second.

All numbers count from the start of the predictor, so a lost datagram is made up for by the next.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

_HEAD = struct.Struct("<4s16s")
_RECORD = struct.Struct("<6Q")
_MAGIC = b"DMm1"
PREDICTOR_BYTES = 16

MOST = 1000
"""Records in one datagram: 48 KB."""


class MeterError(ValueError):
    """The datagram is not one of ours."""


@dataclass(frozen=True)
class Meters:
    """Of one account (`InternalClaims.account`). `cost_nano` is of ended calls, as they will be
    booked; `began` counts every call that arrived with a valid token, `ended` those that are over.
    """

    account: int
    began: int
    ended: int
    prompt_tokens: int
    completion_tokens: int
    cost_nano: int


def encode(predictor: bytes, meters: Iterable[Meters]) -> bytes:
    """`predictor` are 16 bytes that no other predictor ever has. At most `MOST` records."""
    parts = [_HEAD.pack(_MAGIC, predictor)]
    parts += [
        _RECORD.pack(m.account, m.began, m.ended, m.prompt_tokens, m.completion_tokens, m.cost_nano)
        for m in meters
    ]
    return b"".join(parts)


def decode(datagram: bytes) -> tuple[bytes, list[Meters]]:
    """Which predictor, and its meters. Raises `MeterError`."""
    if len(datagram) < _HEAD.size or (len(datagram) - _HEAD.size) % _RECORD.size:
        raise MeterError("a datagram of odd length")
    magic, predictor = _HEAD.unpack_from(datagram)
    if magic != _MAGIC:
        raise MeterError("not a datagram of meters")
    records = _RECORD.iter_unpack(datagram[_HEAD.size :])
    return predictor, [Meters(*record) for record in records]
