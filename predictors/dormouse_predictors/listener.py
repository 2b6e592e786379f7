"""The predictor's HTTP server: uvicorn on a socket that we bound, with signals that we handle."""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any  # ASGI application

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dormouse_predictors.witness import DESCRIPTOR


class Listener:
    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]

    async def start(self, application: Any, *, finish_seconds: float) -> None:
        """Returns once calls are answered. `finish_seconds`: the longest that `stop` waits."""
        config = uvicorn.Config(
            application,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=65,
            timeout_graceful_shutdown=int(finish_seconds) + 1,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Accept no more, and let what runs end."""
        self._server.should_exit = True
        await self._serving

    def close(self) -> None:
        self._socket.close()


class _Protocol(HttpToolsProtocol):
    """Tells the application which connection a call came by."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DESCRIPTOR: self._descriptor}  # type: ignore[dict-item]

    def _descriptor(self) -> int | None:
        connection = self.transport.get_extra_info("socket")
        found: int = -1 if connection is None else connection.fileno()
        return None if found < 0 else found


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
