"""One supervised process: started, watched, started again when it ends, stopped for good once."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import IO

from structlog import get_logger

from dormouse_control.supervisor.banner import ended
from dormouse_control.supervisor.lifeline import ends_with
from dormouse_control.supervisor.processes import ProcessSpec

log = get_logger(__name__)

# Long enough not to spin, short enough to be back within three seconds whatever the process needs.
PAUSES = (0.0, 0.1, 0.2, 0.5)
STABLE_SECONDS = 2.0


class Child:
    def __init__(
        self,
        spec: ProcessSpec,
        *,
        environment: Mapping[str, str],
        output: IO[bytes] | None,
        changed: Callable[[], None],
        told: Callable[[str], object],
    ) -> None:
        self.spec = spec
        self.restarts = 0
        self.started_at = 0.0
        self.pid: int | None = None
        self._environment = environment
        self._output = output
        self._changed = changed
        self._told = told
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def keep_alive(self) -> None:
        """Return once it was stopped."""
        quick = 0
        while not self._stopping:
            code = await self._run()
            if self._stopping:
                return
            quick = 0 if time.time() - self.started_at > STABLE_SECONDS else quick + 1
            log.error("process_ended", name=self.spec.name, exit_status=code, restart=self.restarts)
            self._told(ended(self.spec.name, code))
            self.restarts += 1
            await asyncio.sleep(PAUSES[min(quick, len(PAUSES) - 1)])

    async def _run(self) -> int:
        self.started_at = time.time()
        self._process = await asyncio.create_subprocess_exec(
            *self.spec.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env={**self._environment, "DORMOUSE_PROCESS_METRICS_PORT": str(self.spec.metrics_port)},
            # Ctrl-C goes to us alone; we stop the others in order.
            start_new_session=True,
            preexec_fn=ends_with(os.getpid(), signal.SIGTERM),
        )
        if self._stopping:  # we were told while it was being started
            self._process.terminate()
        self.pid = self._process.pid
        self._changed()
        code = await self._process.wait()
        self.pid = None
        self._changed()
        return code

    async def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL if it has not ended after `seconds`."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            log.error("process_killed", name=self.spec.name, after_seconds=seconds)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
