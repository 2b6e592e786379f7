"""One predictor from start to end: bind, load, serve, drain."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Mapping

import structlog
import uvloop
from prometheus_client import start_http_server

from dormouse_predictors import log
from dormouse_predictors.config import PredictorConfig
from dormouse_predictors.control import GRACE_MS, Control
from dormouse_predictors.errors import CallError
from dormouse_predictors.listener import Listener
from dormouse_predictors.loading import StartFailed
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.parts import Around, Parts, build
from dormouse_predictors.progress import Progress
from dormouse_predictors.revocations import follow
from dormouse_predictors.shared import Shared
from dormouse_predictors.witness import Witness

WAIT_SECONDS = 10
"""Until whoever was refused because we could not start may try again."""

_log = structlog.get_logger()


def run(
    config: PredictorConfig,
    connection: socket.socket | None,
    shared: Shared | None = None,
    witness: socket.socket | None = None,
) -> int:
    """Serve until told to drain; the exit status. `connection` and `witness` lead to the nest."""
    random.seed()
    log.configure(f"predictor:{config.service}", level=config.log_level)
    predictor = Predictor(config, shared or Shared(Metrics()), Witness(witness))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(predictor.main(connection))


class Predictor:
    def __init__(self, config: PredictorConfig, shared: Shared, witness: Witness) -> None:
        self._config = config
        self._control = Control()
        self._progress = Progress(config.model, expected_load_ms=config.expected_load_ms)
        self._around = Around(config, shared, self._control, witness, self._progress)
        self._stop = asyncio.Event()
        self._grace_ms = GRACE_MS

    async def main(self, connection: socket.socket | None) -> int:
        if connection is not None:
            await self._control.open(connection)
        self._handle_signals(managed=connection is not None)
        listening = asyncio.create_task(self._control.listen(self._drain))
        beating = asyncio.create_task(self._control.beat())
        try:
            return await self._serve()
        except StartFailed as error:
            _log.error("predictor failed to start", code=error.code, error=str(error))
            self._control.send("failed", code=error.code, message=str(error))
            return 1
        except Exception as error:
            _log.exception("predictor failed")
            self._control.send("failed", code="internal_error", message=type(error).__name__)
            return 1
        finally:
            listening.cancel()
            beating.cancel()
            await self._control.close()

    async def _serve(self) -> int:
        start, config = time.monotonic(), self._config
        parts = build(self._around)
        listener = Listener(config.host, config.port)
        metrics_server, _ = start_http_server(
            config.metrics_port, config.host, self._around.shared.metrics.registry
        )
        parts.scheduler.start()
        application = parts.application
        background = [asyncio.create_task(application.intake.watch(application.at_work))]
        try:
            told = {"metrics_port": metrics_server.server_port, "pid": os.getpid()}
            await self._listen(listener, parts, told)
            if not await self._loaded_or_refused(listener, parts):
                return 0
            parts.reporter.start()
            # Not before: its imports would take their time from the model's load.
            background.append(asyncio.create_task(follow(config.internal_api, parts.revoked)))
            about = {
                "load_ms": int((time.monotonic() - start) * 1000),
                "slots": parts.resident.engine.parallel,
            }
            await self._answer(listener, parts, {**told, **about})
            for task in background:
                task.cancel()
        finally:
            listener.close()
            self._around.witness.close()
            parts.close(config.timeout_seconds)
            metrics_server.shutdown()
        return 0

    async def _listen(self, listener: Listener, parts: Parts, told: Mapping[str, int]) -> None:
        """Before the model is there: calls may come that want to be told how far it is."""
        await listener.start(parts.application, finish_seconds=self._config.timeout_seconds)
        self._control.send("listening", port=listener.port, **told)

    async def _loaded_or_refused(self, listener: Listener, parts: Parts) -> bool:
        """False if we are to stop as soon as the model is there. Raises `StartFailed`."""
        try:
            if not await parts.first_load.wait(self._stop):
                # A download can take hours; what it has so far is kept for the next time.
                os._exit(0)
        except StartFailed as error:
            text = f"{self._config.service} could not be woken: {error}"
            refused = CallError(503, error.code, text, retry_after=WAIT_SECONDS)
            parts.scheduler.refuse(refused)
            await listener.stop()
            raise
        return not self._stop.is_set()

    async def _answer(self, listener: Listener, parts: Parts, about: Mapping[str, int]) -> None:
        self._progress.note(self._config.model, "ready", None)
        self._control.send("ready", port=listener.port, model=self._config.model, **about)
        _log.info("ready", port=listener.port, model=self._config.model, **about)
        await self._stop.wait()
        parts.application.draining = True
        await asyncio.sleep(self._grace_ms / 1000)
        await listener.stop()
        _log.info("drained")

    def _handle_signals(self, *, managed: bool) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        if managed:
            # Ctrl-C reaches the whole process group; the nest says when we drain.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        else:
            loop.add_signal_handler(signal.SIGINT, self._terminate)

    def _terminate(self) -> None:
        self._control.send("draining")
        self._drain(GRACE_MS)

    def _drain(self, grace_ms: int) -> None:
        if not self._stop.is_set():
            self._grace_ms = grace_ms
            self._stop.set()
