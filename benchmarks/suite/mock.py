"""A predictor that answers at once and always the same: python -m suite.mock PORT RUN_FOLDER.

A call with `stream` gets `max_tokens` chunks: the first at once, then one every `seed` milliseconds
or every PACE_MS.
Calls with an internal token are metered to the authorizer that admitted them, as predictors do;
RUN_FOLDER is where its socket is.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import cast

import httptools
import uvloop

from suite.metering import Metering

PACE_MS = 4
_END = 256
"""Bytes of a body's end in which all this is looked for."""

_TOKEN_OF = re.compile(rb"\r\nauthorization: Bearer (\S+)\r\n")
_TOKENS = re.compile(rb'"max_tokens": ?(\d+)')
_PACE = re.compile(rb'"seed": ?(\d+)')

_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "model-000",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello there."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
}
_BODY = json.dumps(_ANSWER).encode()
_REPLY = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _chunk(text: bytes) -> bytes:
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    said = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "model-000",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return _chunk(b"data: " + json.dumps(said).encode() + b"\n\n")


# Two in turn: LiteLLM ends a stream that says the same a hundred times.
_TOKENS_SAID = [_event({"role": "assistant", "content": text}) for text in ("Hello", "there")]
_LAST = _event({}, "stop") + _chunk(b"data: [DONE]\n\n") + _chunk(b"")


class Streams:
    """All streams of one pace advance together: one timer instead of one each."""

    def __init__(self) -> None:
        self._left: dict[int, dict[Predictor, int]] = {}
        self._timers: set[asyncio.Task[None]] = set()

    def begin(self, predictor: "Predictor", *, chunks: int, pace_ms: int) -> None:
        if pace_ms not in self._left:
            self._left[pace_ms] = {}
            self._timers.add(asyncio.create_task(self._run(pace_ms)))
        self._left[pace_ms][predictor] = chunks

    def end(self, predictor: "Predictor") -> None:
        for streams in self._left.values():
            streams.pop(predictor, None)

    async def _run(self, pace_ms: int) -> None:
        loop, streams = asyncio.get_running_loop(), self._left[pace_ms]
        due = loop.time()
        while True:
            due = max(due + pace_ms / 1000, loop.time())
            await asyncio.sleep(due - loop.time())
            for predictor, left in list(streams.items()):
                if left > 1:
                    streams[predictor] = left - 1
                    predictor.transport.write(_TOKENS_SAID[left % 2])
                else:
                    del streams[predictor]
                    predictor.finish(_LAST)


class Predictor(asyncio.Protocol):
    def __init__(self, streams: Streams, metering: Metering) -> None:
        self._streams = streams
        self._metering = metering
        self._end = b""
        self._token: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's is of no such class
        self._parser = httptools.HttpRequestParser(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._streams.end(self)

    def data_received(self, data: bytes) -> None:
        # Faster than being told of every header, and none of the gateway's time.
        if self._token is None and (found := _TOKEN_OF.search(data)):
            self._token = found[1]
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._end = (self._end + body)[-_END:] if len(body) < _END else body[-_END:]

    def on_message_complete(self) -> None:
        self._metering.began[self._token] += 1
        if b'"stream"' in self._end:
            tokens, pace = _TOKENS.search(self._end), _PACE.search(self._end)
            self.transport.write(_STREAM + _TOKENS_SAID[0])
            self._streams.begin(
                self,
                chunks=int(tokens[1]) if tokens else 1,
                pace_ms=int(pace[1]) if pace else PACE_MS,
            )
        else:
            self.finish(_REPLY)

    def finish(self, last: bytes) -> None:
        self._metering.ended[self._token] += 1
        self._end, self._token = b"", None
        self.transport.write(last)


async def _serve(port: int, run: Path) -> None:
    streams, metering = Streams(), Metering(run)
    server = await asyncio.get_running_loop().create_server(
        lambda: Predictor(streams, metering), "127.0.0.1", port, backlog=2048
    )
    async with server:
        await metering.run()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
