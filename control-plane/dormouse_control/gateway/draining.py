"""Lets a running Envoy finish its calls before it is stopped."""

import asyncio
import time

DRAIN_SECONDS = 10.0
_ANSWER_SECONDS = 2.0


async def drain(admin_socket: str) -> None:
    """Take no new calls and return once the running ones have ended, or after DRAIN_SECONDS.

    Raises OSError (TimeoutError too), EOFError or ValueError if Envoy is not there to be asked.
    """
    await _asked(admin_socket, "POST", "/drain_listeners?skip_exit")
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and await _active(admin_socket):
        await asyncio.sleep(0.05)


async def _active(admin_socket: str) -> int:
    path = "/stats?filter=^http.public.downstream_rq_active$"
    text = await _asked(admin_socket, "GET", path)
    return int(text.partition(":")[2] or 0)


async def _asked(admin_socket: str, method: str, path: str) -> str:
    """The body of the answer."""
    async with asyncio.timeout(_ANSWER_SECONDS):
        reader, writer = await asyncio.open_unix_connection(admin_socket)
        try:
            # Envoy's admin interface speaks no HTTP/1.0, in which all would be simpler.
            head = f"{method} {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n"
            writer.write(f"{head}content-length: 0\r\n\r\n".encode())
            answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise ValueError(f"Envoy answered {answer[:40]!r}")
    chunked = b"\r\ntransfer-encoding: chunked" in answer.lower()
    return (_dechunked(body) if chunked else body).decode()


def _dechunked(body: bytes) -> bytes:
    """Raises ValueError if it does not end."""
    whole = b""
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return whole
        whole, body = whole + rest[:length], rest[length + 2 :]
