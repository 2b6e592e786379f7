"""Reads what a client sends: header fields, the body within its limit, the hanging up."""

import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any  # ASGI messages

from dormouse.events import MAX_TAG_VALUE, MAX_TAGS, are_tags
from dormouse_predictors.errors import CallError, invalid

Receive = Callable[[], Awaitable[dict[str, Any]]]

_TAG = b"x-dormouse-tag-"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Incoming:
    """What a client sends, as ASGI's `receive` hands it over."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._whole = False
        self._bytes = 0

    async def __call__(self) -> dict[str, Any]:
        message = await self._receive()
        self._whole = not message.get("more_body")
        self._bytes += len(message.get("body", b""))
        return message

    async def drain(self, most: int) -> None:
        """Throw away what is still to come of a body, as far as that has `most` bytes or less.

        Whoever is answered and hung up on while still sending gets a reset in place of the answer.
        """
        while not self._whole and self._bytes <= most:
            await self()


class ClientGone(Exception):
    """The client hung up before its body was read."""


def request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(text := given.decode("latin-1")):
        return text
    # Not a secret, and the system's random numbers are a call away in which others take their turn.
    return f"{random.getrandbits(128):032x}"


def bearer(headers: Mapping[bytes, bytes]) -> str:
    """Raises `CallError`."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise CallError(401, "missing_credentials", "An internal token is needed here.")
    return token.strip()


def tags(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """What the caller wants the call to be found under later. Raises `CallError`."""
    found: dict[str, str] = {}
    for header, value in headers.items():
        if header.startswith(_TAG):
            name = header[len(_TAG) :].decode("latin-1")
            # Not UTF-8: what stands for the bytes is not printable, and so no tag.
            found[name] = value.decode("utf-8", "surrogateescape")
            if not are_tags({name: found[name]}):
                raise invalid(
                    header.decode("latin-1"),
                    "A tag has a name of at most 32 small letters, digits and hyphens, and a"
                    f" printable text of 1 to {MAX_TAG_VALUE} characters.",
                )
    if len(found) > MAX_TAGS:
        raise invalid(None, f"A call may have {MAX_TAGS} tags at most.")
    return found


async def body(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    most: int,
    grows: Callable[[int], None] = lambda _: None,
) -> bytes:
    """`grows` hears of each part's bytes before they are kept. Raises `CallError`, `ClientGone`."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise CallError(415, "unsupported_encoding", "The body must not be compressed.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > 2 * most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        try:
            grows(len(message.get("body", b"")))
        except CallError:
            parts.clear()  # or the error would hold them, for as long as somebody holds it
            raise
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            parts.clear()  # who sends not much too much gets to the end, and so to our answer
        if size > 2 * most or (size > most and not message.get("more_body")):
            raise _too_large(most)
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large(most: int) -> CallError:
    return CallError(413, "body_too_large", f"A body may have {most} bytes at most.")


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
