"""Streamed answers: time to the first token, CPU a chunk, gaps between tokens (T1-T3)."""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop

from suite.mock import PACE_MS
from suite.processes import cpu_seconds
from suite.results import Results
from suite.rounds import spread
from suite.subjects import Subject

_CHUNK = b'"delta"'
"""Stands once in every chunk, whoever wrote it."""

GAPS_PACE_MS = 100
_LONGEST = 120.0
"""Seconds that answers side by side may take."""


@dataclass
class _Seen:
    answered: bool = False
    first: float = 0.0
    last: float = 0.0
    chunks: int = 0
    gaps: list[float] = field(default_factory=list)


class BadStream(RuntimeError):
    """Not all chunks came."""


class _Client(asyncio.Protocol):
    """One call on a connection that is kept; ends with the last chunk of the answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._seen = _Seen()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is of no such class

    async def call(self, request: bytes) -> _Seen:
        self._seen, self._tail = _Seen(), b""
        self._over = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(request)
        await self._over
        return self._seen

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        seen = self._seen
        if not seen.answered:
            seen.answered = True
            if not data.startswith(b"HTTP/1.1 200 "):
                self._over.set_exception(BadStream(data[:1000].decode(errors="replace")))
                return
        whole = self._tail + data
        found = whole.count(_CHUNK)
        if found and not seen.first:
            seen.first = now
        elif found:
            seen.gaps.append(now - seen.last)
        if found:
            seen.last = now
            seen.chunks += found
        # What may be the beginning of the mark or of the end is looked at again with the rest.
        keep = whole.rfind(_CHUNK) + len(_CHUNK) if found else 0
        self._tail = whole[max(keep, len(whole) - 6) :]
        if whole.endswith(b"0\r\n\r\n") and not self._over.done():
            self._over.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_exception(BadStream(str(error)))


def first_token(
    results: Results, direct: Subject, through: Sequence[Subject], *, rounds: int, calls: int
) -> None:
    """T1: what a gateway adds to the median, against the same call straight to the predictor."""
    added: dict[str, list[float]] = {each.name: [] for each in through}
    for _ in range(rounds):
        straight = uvloop.run(_first_tokens(direct, calls))
        for subject in through:
            added[subject.name].append(uvloop.run(_first_tokens(subject, calls)) - straight)
    results.put("T1", spread([1000 * each for each in added["ours"]]))
    for name, values in added.items():
        results.note(
            f"T1: {name} adds to the first token, ms", str(spread([1e3 * v for v in values]))
        )


def chunks(
    results: Results,
    bare: Subject,
    ours: Subject,
    litellm: Subject | None,
    *,
    rounds: int,
    streams: int,
    tokens: int,
) -> None:
    """T2: CPU a chunk, with paced streams side by side; fewer of them for LiteLLM."""
    to_bare, to_litellm, cpu = [], [], {"bare Envoy": [0.0], "ours": [0.0]}
    for _ in range(rounds):
        before = _cpu_a_chunk(bare, streams, tokens)
        found = _cpu_a_chunk(ours, streams, tokens)
        after = _cpu_a_chunk(bare, streams, tokens)
        to_bare.append(found / ((before + after) / 2))
        cpu["bare Envoy"].append((before + after) / 2)
        cpu["ours"].append(found)
        if litellm is not None:
            to_litellm.append(found / _cpu_a_chunk(litellm, 4, tokens // 2))
    results.put("T2", spread(to_bare))
    if to_litellm:
        results.put("T2b", spread(to_litellm))
    for name, values in cpu.items():
        text = f"{1e6 * statistics.median(values[1:]):.1f} us"
        results.note(f"T2: CPU a chunk, {name} (median)", text)


def gaps(
    results: Results, direct: Subject, ours: Subject, *, rounds: int, streams: int, tokens: int
) -> None:
    """T3: how much later than straight from the predictor the slowest hundredth of tokens comes."""
    added = []
    for _ in range(rounds):
        straight = _p99_gap(direct, streams, tokens)
        added.append((_p99_gap(ours, streams, tokens) - straight) * 1000)
    results.put("T3", spread(added))
    results.note("T3: streams side by side, one token each every ms", f"{streams}, {GAPS_PACE_MS}")


def _cpu_a_chunk(subject: Subject, streams: int, tokens: int) -> float:
    path = subject.path or subject.pids
    before = cpu_seconds(path)
    seen = uvloop.run(_side_by_side(subject, streams, tokens))
    return (cpu_seconds(path) - before) / sum(each.chunks for each in seen)


def _p99_gap(subject: Subject, streams: int, tokens: int) -> float:
    seen = uvloop.run(_side_by_side(subject, streams, tokens, GAPS_PACE_MS))
    found = [gap for each in seen for gap in each.gaps]
    return statistics.quantiles(found, n=100)[98]


async def _first_tokens(subject: Subject, calls: int) -> float:
    """The median of so many, in seconds."""
    client, request = await _connect(subject), _request(subject, tokens=1, pace_ms=1)
    found = []
    for number in range(calls + 20):
        began = time.perf_counter()
        seen = await client.call(request)
        if number >= 20:
            found.append(seen.first - began)
    return statistics.median(found)


async def _side_by_side(
    subject: Subject, streams: int, tokens: int, pace_ms: int = PACE_MS
) -> list[_Seen]:
    """Raises `BadStream`."""
    request = _request(subject, tokens=tokens, pace_ms=pace_ms)
    clients = [await _connect(subject) for _ in range(streams)]
    async with asyncio.timeout(_LONGEST):
        seen = await asyncio.gather(*(client.call(request) for client in clients))
    for each in seen:
        if each.chunks < tokens:
            raise BadStream(f"{subject.name}: {each.chunks} of {tokens} chunks")
    return list(seen)


async def _connect(subject: Subject) -> _Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(_Client, "127.0.0.1", subject.port)
    return client


def _request(subject: Subject, *, tokens: int, pace_ms: int) -> bytes:
    body = json.dumps(
        {
            "model": subject.model,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": tokens,
            "seed": pace_ms,
            "stream": True,
        }
    ).encode()
    headers = {"host": "127.0.0.1", **subject.all_headers(), "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n".encode() + body
