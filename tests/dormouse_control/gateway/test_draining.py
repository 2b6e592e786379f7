"""Before the gateway is stopped its calls may end."""

import asyncio

import pytest

from dormouse_control.gateway.draining import drain

BUSY = "http.public.downstream_rq_active: 1\n"
IDLE = "http.public.downstream_rq_active: 0\n"


async def drained(path, answers, status="200 OK"):
    """What a gateway was asked that answers so."""
    asked = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" HTTP")[0].decode())
        body = answers[min(len(asked), len(answers)) - 1]
        assert b" HTTP/1.1\r\n" in head  # Envoy's admin interface speaks no other
        head = f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(f"{head}{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        await drain(str(path))
    return asked


def test_it_takes_no_more_calls_and_waits_until_the_last_has_ended(tmp_path):
    stats = "GET /stats?filter=^http.public.downstream_rq_active$"
    asked = asyncio.run(drained(tmp_path / "a", ["OK\n", BUSY, BUSY, IDLE]))
    assert asked == ["POST /drain_listeners?skip_exit", stats, stats, stats]


def test_a_gateway_that_is_gone_is_told_of(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        asyncio.run(drain(str(tmp_path / "nobody")))


def test_a_gateway_that_refuses_is_told_of(tmp_path):
    with pytest.raises(ValueError, match="500"):
        asyncio.run(drained(tmp_path / "a", [""], status="500 Broken"))
