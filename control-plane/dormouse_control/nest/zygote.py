"""A zygote as the nest sees it: a warmed-up process per engine that predictors are forked from.

With each fork go four descriptors: the predictor's control socket, its witness's, the entrance of
its control group, and a pipe with its credentials (`confinement.py`).
"""

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

from structlog import get_logger

from dormouse_control.nest import credentials, lines
from dormouse_control.nest.cgroups import Groups
from dormouse_control.nest.confinement import Confinement, Confining
from dormouse_control.nest.last_words import LastWords
from dormouse_control.supervisor.lifeline import ends_with

log = get_logger(__name__)


IMPORT_SECONDS = 120.0


class ZygoteFailed(Exception):
    """The zygote ended before it was ready."""


class Zygote:
    """Started when first needed and again when it has died."""

    def __init__(self, engine: str, confining: Confining | None = None) -> None:
        self._engine = engine
        self._confining = confining or Confining(Confinement(), Groups(None), os.environ)
        self._own_user = False
        self.wanted = False  # somebody has called
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def fork(self, config: dict[str, Any]) -> socket.socket:
        """Our end of the control socket of a new predictor. Raises `ZygoteFailed`."""
        self.wanted = True
        await self.start()
        assert self._socket is not None
        ours, theirs = socket.socketpair()
        hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
        try:
            with self._confining.prepare(config, own_user=self._own_user) as prepared:
                # The socket blocks for as long as the zygote takes to fork: microseconds.
                descriptors = [theirs.fileno(), speaks.fileno(), *prepared.descriptors]
                told = lines.encode({**config, **prepared.told})
                socket.send_fds(self._socket, [told], descriptors)
        except OSError as error:
            ours.close()
            hears.close()
            raise ZygoteFailed(f"zygote of {self._engine} is gone, or: {error}") from error
        finally:
            theirs.close()
            speaks.close()
        ours.setblocking(False)
        LastWords(hears, lambda: self._confining.ended(prepared.group)).listen()
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
                "-P",
                "-m",
                "dormouse_predictors.zygote",
                "--engine",
                self._engine,
                "--fd",
                str(theirs.fileno()),
                *self._ways(),
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
        except BaseException:
            ours.close()  # and with it the zygote, once it has done its imports
            raise
        if not ready:
            ours.close()
            raise ZygoteFailed(
                f"zygote of {self._engine} ended with {await self._process.wait()} before it was "
                "ready; its log lines say why"
            )
        ours.setblocking(True)
        self._socket = ours
        self._own_user = self._may_change_user(json.loads(ready))
        log.info("zygote_ready", engine=self._engine, pid=self.pid, own_user=self._own_user)

    def _ways(self) -> list[str]:
        known = self._confining.known
        if known.group is None:
            return []
        return ["--group", str(known.group), "--folders", *known.folders]

    def _may_change_user(self, ready: dict[str, Any]) -> bool:
        """Raises `ZygoteFailed` where it must be so and cannot."""
        known, why_not = self._confining.known, ready.get("unreachable")
        if known.group is None or why_not is None:
            return known.group is not None
        if known.required:
            self.close()
            raise ZygoteFailed(f"predictors cannot have a user of their own: {why_not}")
        log.warning("predictors_run_as_root", engine=self._engine, reason=why_not)
        return False

    def kill(self) -> None:
        """It hangs, and would not see the end of its socket. The next fork starts another."""
        self.close()
        if self.pid is not None and self._process is not None:
            self._process.kill()
        self._process = None

    def close(self) -> None:
        """It ends when its socket does."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _environment() -> dict[str, str]:
    return credentials.for_zygotes(os.environ) | {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # GPUs have the numbers that the memory handler means
    }
