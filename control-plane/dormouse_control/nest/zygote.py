"""A zygote as the nest sees it: a warmed-up process per engine that predictors are forked from."""

import asyncio
import os
import signal
import socket
import sys
from typing import Any

from structlog import get_logger

from dormouse_control.nest import lines
from dormouse_control.nest.last_words import LastWords
from dormouse_control.supervisor.lifeline import ends_with

log = get_logger(__name__)


IMPORT_SECONDS = 120.0


class ZygoteFailed(Exception):
    """The zygote ended before it was ready."""


class Zygote:
    """Started when first needed and again when it has died."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def fork(self, config: dict[str, Any]) -> socket.socket:
        """Our end of the control socket of a new predictor. Raises `ZygoteFailed`."""
        await self.start()
        assert self._socket is not None
        ours, theirs = socket.socketpair()
        hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
        try:
            # The socket blocks for as long as the zygote takes to fork: microseconds.
            descriptors = [theirs.fileno(), speaks.fileno()]
            socket.send_fds(self._socket, [lines.encode(config)], descriptors)
        except OSError as error:
            ours.close()
            hears.close()
            raise ZygoteFailed(f"zygote of {self._engine} is gone") from error
        finally:
            theirs.close()
            speaks.close()
        ours.setblocking(False)
        LastWords(hears).listen()
        return ours

    async def start(self) -> None:
        """Return once it is ready. Raises `ZygoteFailed`."""
        async with self._starting:
            if self.pid is None:
                await self._launch()

    async def _launch(self) -> None:
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "dormouse_predictors.zygote",
                "--engine",
                self._engine,
                "--fd",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=_environment(),
                # The end of its socket ends it too, but only once seconds of imports are done.
                preexec_fn=ends_with(os.getpid(), signal.SIGKILL),
            )
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(IMPORT_SECONDS):
                ready = await loop.sock_recv(ours, lines.MAX_LINE)
        except TimeoutError:
            self._process.kill()
            ready = b""
        if not ready:
            ours.close()
            raise ZygoteFailed(
                f"zygote of {self._engine} ended with {await self._process.wait()} before it was "
                "ready; its log lines say why"
            )
        ours.setblocking(True)
        self._socket = ours
        log.info("zygote_ready", engine=self._engine, pid=self.pid)

    def close(self) -> None:
        """It ends when its socket does."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _environment() -> dict[str, str]:
    """What a predictor may know: no database address, no secrets of ours."""
    return {name: value for name, value in os.environ.items() if _may_know(name)} | {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _may_know(name: str) -> bool:
    """What finding Python, GPUs and weights needs; DORMOUSE_* may hold a database's password."""
    return name in _NAMES or name.upper() in _PROXIES or name.startswith(_PREFIXES)


_NAMES = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "TZ", "LD_LIBRARY_PATH")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PREFIXES = ("HF_", "AWS_", "AZURE_", "GOOGLE_", "SSL_CERT_", "CUDA_", "NVIDIA_", "LC_")
