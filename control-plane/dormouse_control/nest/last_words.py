"""Ends the streams of a predictor that died: who reads one is told, and takes no half for a whole.

The predictor gives us a duplicate of the connection of every answer that streams
(`predictors/…/witness.py`), and says when it is over. When its process ends, so does the socket
that it speaks over; whatever answers are open then are ended here, by an error event.

It may have died in the middle of a chunk. Then what we write is no chunk to the gateway, which
breaks the stream off: less helpful, but never silent.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable

from structlog import get_logger

log = get_logger(__name__)

MESSAGE = struct.Struct("<cQ")
BEGUN = b"+"

_ERROR = {
    "message": "The process that answered this call has ended. What came so far is not the whole.",
    "type": "server_error",
    "param": None,
    "code": "predictor_died",
}
_EVENT = b"data: " + json.dumps({"error": _ERROR}, separators=(",", ":")).encode() + b"\n\n"
LAST_WORDS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_EVENT), _EVENT)
"""The last chunk of an HTTP/1.1 body, and its end."""


class LastWords:
    """Of one predictor; `connection` leads to it and is of the kind SOCK_SEQPACKET. `ended` is
    called when the predictor's process ends."""

    def __init__(self, connection: socket.socket, ended: Callable[[], None] = lambda: None) -> None:
        self._connection = connection
        self._ended = ended
        self._open: dict[int, int] = {}  # the predictor's number of an answer -> its connection

    def listen(self) -> None:
        """Until the predictor is gone. Event loop only."""
        self._connection.setblocking(False)
        asyncio.get_running_loop().add_reader(self._connection, self._read)

    def _read(self) -> None:
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(
                    self._connection, MESSAGE.size, 1, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                message, descriptors = b"", []
            if len(message) != MESSAGE.size:
                self._end()
                return
            self._note(message, descriptors)

    def _note(self, message: bytes, descriptors: list[int]) -> None:
        kind, number = MESSAGE.unpack(message)
        if number in self._open:
            os.close(self._open.pop(number))
        if kind == BEGUN and descriptors:
            self._open[number] = descriptors.pop()
        for each in descriptors:
            os.close(each)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()
        if self._open:
            log.warning("streams_ended_by_us", streams=len(self._open))
        for descriptor in self._open.values():
            _say(descriptor)
        self._open.clear()
        self._ended()


def _say(descriptor: int) -> None:
    with socket.socket(fileno=descriptor) as connection:
        try:
            # If there is no room for it, its reader is slow, and finds the stream broken off.
            connection.send(LAST_WORDS, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the reader has gone too
