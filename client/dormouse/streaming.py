"""A streamed answer: server-sent events, decoded from bytes as they come."""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Generic, TypeVar

import httpx

from dormouse.answers import whole_number
from dormouse.errors import (
    APIConnectionError,
    APITimeoutError,
    UnexpectedAnswerError,
    stream_error,
)

T = TypeVar("T")


class Stream(Generic[T]):
    """Iterates over chunks. Closing it, or leaving its `with`, hangs up: the model stops."""

    def __init__(self, response: httpx.Response, decode: Callable[[object], T]) -> None:
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._decode = decode
        self._chunks = self._read()
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            response.close()
            raise UnexpectedAnswerError("the answer is not a stream of events")

    @property
    def request_id(self) -> str | None:
        """The call's id in logs and in the usage list."""
        return self.headers.get("x-request-id")

    @property
    def model_used(self) -> str | None:
        """The model that really answers, where an alias was asked."""
        return self.headers.get("x-dormouse-model")

    @property
    def cold_start_ms(self) -> int | None:
        """How long the call waited for the model to wake; None if it was awake."""
        return whole_number(self.headers.get("x-dormouse-cold-start-ms"))

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._chunks)

    def __enter__(self) -> "Stream[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._chunks.close()
        self._response.close()

    def _read(self) -> Generator[T, None, None]:
        count = 0
        done = False
        try:
            for data in _events(self._response.iter_bytes()):
                # Read on after the end: a body read whole leaves a connection for the next call,
                # and hanging up now would look to the server as if we had not wanted the rest.
                done = done or data == b"[DONE]"
                if not done:
                    yield self._decode(self._document(data))
                    count += 1
        except httpx.RequestError as error:
            if not done:
                raise _broken(error, count) from error
        finally:
            self._response.close()
        if not done:
            raise APIConnectionError(f"the stream ended unfinished after {count} chunks")

    def _document(self, data: bytes) -> object:
        try:
            document = json.loads(data)
        except ValueError as error:
            raise UnexpectedAnswerError("an event of the stream is not JSON") from error
        if isinstance(document, dict) and "error" in document:
            raise stream_error(document, self.headers)
        return document


def _broken(error: httpx.RequestError, count: int) -> APIConnectionError:
    if isinstance(error, httpx.TimeoutException):
        return APITimeoutError(f"the stream stood still after {count} chunks")
    return APIConnectionError(f"the stream broke off after {count} chunks")


def _events(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each event. Bytes, because text has more line ends than this format."""
    data: list[bytes] = []
    for line in _lines(parts):
        if not line:
            if data:
                yield b"\n".join(data)
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        # Everything else is a comment (keep-alive) or a field that is not used here.


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for part in parts:
        *complete, last = part.split(b"\n")
        if complete:
            complete[0] = b"".join([*rest, complete[0]])
            rest = []
            for line in complete:
                yield line.removesuffix(b"\r")
        rest.append(last)
