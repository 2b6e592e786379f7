"""Writes one answer to one client: a JSON object, a stream of events, or an error."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any  # ASGI messages and JSON

import orjson

from dormouse.preferences import PROGRESS
from dormouse_predictors.base import Embedded, GenerateRequest, Generation, Piece
from dormouse_predictors.errors import CallError, internal
from dormouse_predictors.jobs import Job
from dormouse_predictors.outbox import Done, Failed, Item
from dormouse_predictors.progress import EVERY_SECONDS, FIRST_SECONDS
from dormouse_predictors.requests.fields import ParsedCall
from dormouse_predictors.responses import chat, completions, embeddings
from dormouse_predictors.responses.shapes import DONE, Head, event

Send = Callable[[dict[str, Any]], Awaitable[None]]
Hold = Callable[[], Callable[[], None]]
Headers = list[tuple[bytes, bytes]]
EventStream = chat.Stream | completions.Stream

_JSON = (b"content-type", b"application/json")
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Answer:
    """`closing` ends the connection with the answer: while the body is not read, it must. `limits`
    are headers of every answer. `hold` has somebody else end a stream that we cannot.
    """

    def __init__(self, send: Send, hold: Hold) -> None:
        self._send = send
        self._hold = hold
        self._started = self._streaming = False
        self._release: Callable[[], None] = _nothing
        self.limits: Headers = []
        self.closing = True
        self.reached_engine = False

    async def give(
        self, job: Job, call: ParsedCall, progress: Callable[[], bytes] | None = None
    ) -> None:
        """`progress` is what to tell while a stream's answer has not begun, again and again.

        Raises `CallError` for a call that failed before its answer began.
        """
        if progress is not None and job.stream:
            await self._tell(job.outbox.waits, progress)
        await self._answered(job, call, await job.outbox.take())

    async def _answered(self, job: Job, call: ParsedCall, items: list[Item]) -> None:
        if self._started:
            await self._events(job, call, items)
        elif isinstance(items[0], Failed):
            raise items[0].error
        elif isinstance(items[0], Done):
            if items[0].result is None:
                raise internal()
            await self._whole(_document(job, call, items[0].result), job)
        else:
            await self._start_stream(_about(job))
            await self._events(job, call, items)

    async def tell_while(
        self, fetching: Coroutine[Any, Any, None], progress: Callable[[], bytes]
    ) -> None:
        """As `give`, while something is fetched that a stream needs before it can begin."""
        task = asyncio.ensure_future(fetching)

        async def over(seconds: float) -> bool:
            done, _ = await asyncio.wait({task}, timeout=seconds)
            return bool(done)

        try:
            await self._tell(over, progress)
            await task
        finally:
            task.cancel()

    async def refuse(self, error: CallError) -> None:
        if self._streaming:
            await self._end(event(error.body()))
            return
        headers = [_JSON]
        if error.retry_after is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        await self._respond(error.status, headers, orjson.dumps(error.body()))

    def close(self) -> None:
        """It is over, however it ended: nobody need end it for us any more."""
        release, self._release = self._release, _nothing
        release()

    async def _whole(self, document: dict[str, Any], job: Job) -> None:
        headers = [_JSON, *_about(job)]
        await self._respond(200, headers, orjson.dumps(document))

    async def _tell(
        self, over: Callable[[float], Awaitable[bool]], progress: Callable[[], bytes]
    ) -> None:
        """Returns when it is `over`, which waits for so many seconds at most and says whether."""
        pause = EVERY_SECONDS if self._started else FIRST_SECONDS
        while not await over(pause):
            if not self._started:
                await self._start_stream([(b"preference-applied", PROGRESS.encode())])
            await self._send({"type": "http.response.body", "body": progress(), "more_body": True})
            pause = EVERY_SECONDS

    async def _start_stream(self, headers: Headers) -> None:
        self._release, self._streaming = self._hold(), True
        await self._start(200, [*_EVENTS, *headers])

    async def _events(self, job: Job, call: ParsedCall, items: list[Item]) -> None:
        stream, last = _event_stream(job, call), False
        while not last:
            body = b""
            for item in items:
                part, last = _events(stream, item, job)
                body += part
            if last:
                await self._end(body)
            else:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
                items = await job.outbox.take()

    async def _end(self, body: bytes) -> None:
        self._streaming = False
        await self._send({"type": "http.response.body", "body": body})
        self.close()

    async def _respond(self, status: int, headers: Headers, body: bytes) -> None:
        if self._started:
            return
        await self._start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Headers) -> None:
        self._started = True
        headers = [*headers, *self.limits]
        if self.closing:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def _about(job: Job) -> Headers:
    headers = [(b"x-dormouse-model", job.model.encode())]
    if job.claims.cold_start_ms is not None:
        headers.append((b"x-dormouse-cold-start-ms", str(job.claims.cold_start_ms).encode()))
    if job.meter.gpu_layers is not None:
        headers.append((b"x-dormouse-gpu-layers", str(job.meter.gpu_layers).encode()))
    return headers


def _events(stream: EventStream, item: Item, job: Job) -> tuple[bytes, bool]:
    """The bytes for one item, and whether they are the last."""
    if isinstance(item, Piece):
        return stream.piece(item), False
    if isinstance(item, Failed):
        return event(item.error.body()), True
    return stream.end(job.meter) + DONE, True


def _event_stream(job: Job, call: ParsedCall) -> EventStream:
    if job.endpoint == "chat.completions":
        head = _head(chat.PREFIX, job, call)
        return chat.Stream(head, logprobs=_logprobs(call), include_usage=call.include_usage)
    head = _head(completions.PREFIX, job, call)
    return completions.Stream(head, logprobs=_logprobs(call), include_usage=call.include_usage)


def _document(job: Job, call: ParsedCall, result: Generation | Embedded) -> dict[str, Any]:
    if isinstance(result, Embedded):
        return embeddings.whole(call.model, result, job.meter, as_base64=call.base64)
    if job.endpoint == "chat.completions":
        head = _head(chat.PREFIX, job, call)
        return chat.whole(head, result, job.meter, logprobs=_logprobs(call))
    head = _head(completions.PREFIX, job, call)
    return completions.whole(head, result, job.meter, logprobs=_logprobs(call))


def _logprobs(call: ParsedCall) -> bool:
    return isinstance(call.request, GenerateRequest) and call.request.logprobs is not None


def _head(prefix: str, job: Job, call: ParsedCall) -> Head:
    return Head(f"{prefix}{job.request_id}", int(time.time()), call.model)


def _nothing() -> None:
    return None
