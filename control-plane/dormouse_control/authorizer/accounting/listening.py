"""Hears the meters of predictors: datagrams, on a Unix socket or over UDP."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import Counter

from dormouse.meters import MeterError, Meters, decode
from dormouse_control.private_files import share

MALFORMED = Counter("dormouse_meters_malformed_total", "Datagrams that are no meters.")


class Listening(asyncio.DatagramProtocol):
    def __init__(self, hear: Callable[[bytes, Iterable[Meters]], None]) -> None:
        self._hear = hear

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  asyncio's
        try:
            predictor, meters = decode(data)
        except MeterError:
            MALFORMED.inc()
            return
        self._hear(predictor, meters)


def private_datagram_socket(path: Path) -> socket.socket:
    """Only our own processes may write to it, predictors among them."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(path))
    share(path, writable=True)
    bound.setblocking(False)
    return bound
