"""Keeps the platform's processes running: what `dormouse up` becomes once all is prepared.

A process of its own for its memory: preparing needs settings and catalogue, keeping does not.
"""

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import IO

from structlog import get_logger

from dormouse_control import log as logging
from dormouse_control.gateway.draining import drain
from dormouse_control.metrics import serve_metrics
from dormouse_control.supervisor.banner import failed, ready, stopping
from dormouse_control.supervisor.child import Child
from dormouse_control.supervisor.facts import Facts
from dormouse_control.supervisor.metrics import SupervisorMetrics
from dormouse_control.supervisor.readiness import until_ready

log = get_logger(__name__)

STOP_SECONDS = 15.0
LOG_BYTES = 50 * 1024 * 1024
LOG_CHECK_SECONDS = 30.0


def main(facts: Facts) -> int:
    """Exit status."""
    with contextlib.ExitStack() as stack:
        output = None
        if facts.log_handle is not None:
            output = stack.enter_context(open(facts.log_handle, "ab", buffering=0))
        lines = None if output is None else io.TextIOWrapper(output, write_through=True)
        logging.configure("supervisor", facts.log_level, lines)
        return asyncio.run(_supervise(facts, output))


class Supervisor:
    def __init__(self, facts: Facts, output: IO[bytes] | None) -> None:
        self._facts = facts
        self._started_at = time.time()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.children = [
            Child(
                spec,
                environment=environment,
                output=output,
                changed=self._publish,
                told=sys.stderr.write,
            )
            for spec in facts.processes
        ]

    def _publish(self) -> None:
        """What `dormouse status` shows."""
        ourselves = {
            "name": "supervisor",
            "pid": os.getpid(),
            "started_at": self._started_at,
            "restarts": 0,
            "metrics_port": self._facts.metrics_port,
        }
        children = [
            {
                "name": child.spec.name,
                "pid": child.pid,
                "started_at": child.started_at,
                "restarts": child.restarts,
                "metrics_port": child.spec.metrics_port,
            }
            for child in self.children
        ]
        document = {"processes": [*children, ourselves]}
        path = Path(self._facts.processes_file)
        draft = path.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(document))
            draft.replace(path)
        except OSError as error:
            # A full disk must not end the care for the processes.
            log.error("status_not_written", reason=str(error))

    async def stop(self) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError):
            await drain(self._facts.gateway_admin)
        for child in self.children:
            await child.stop(STOP_SECONDS)


async def _supervise(facts: Facts, output: IO[bytes] | None) -> int:
    began = time.monotonic()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(facts, output)
    SupervisorMetrics(supervisor.children)
    serve_metrics(facts.metrics_port)
    trimming = asyncio.create_task(_keep_log_short(facts.log_path))
    lives = [asyncio.create_task(child.keep_alive()) for child in supervisor.children]
    watch = asyncio.create_task(until_ready(facts))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((watch, stopped), return_when=asyncio.FIRST_COMPLETED)
    if watch.done():
        problem = watch.result()
        seconds = time.monotonic() - began
        sys.stderr.write(
            ready(facts, seconds, _first_administrator(facts))
            if problem is None
            else failed(problem, facts.log_path)
        )
    await stopped
    sys.stderr.write(stopping())
    await supervisor.stop()
    await asyncio.gather(*lives)
    trimming.cancel()
    return 0


def _first_administrator(facts: Facts) -> str | None:
    """The token that the control plane left there, if there is no administrator yet."""
    try:
        return Path(facts.first_administrator_file).read_text().strip()
    except OSError:
        return None


async def _keep_log_short(path: Path) -> None:
    while True:
        await asyncio.sleep(LOG_CHECK_SECONDS)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(trim_log, path, LOG_BYTES)


def trim_log(path: Path, most_bytes: int) -> None:
    """Set a long log aside as `.log.1`. Everybody appends, so emptying it in place is safe."""
    if path.exists() and path.stat().st_size > most_bytes:
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.chmod(path.with_suffix(".log.1"), 0o600)
        os.truncate(path, 0)
