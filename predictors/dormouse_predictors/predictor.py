"""One predictor from start to end: bind, load, serve, drain."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop
from prometheus_client import start_http_server

from dormouse.catalog import CatalogError, Model, Resources, Service, read_service
from dormouse.prices import cost_nano
from dormouse_predictors import log
from dormouse_predictors.app import Application, Surface
from dormouse_predictors.callers import Callers
from dormouse_predictors.config import PredictorConfig
from dormouse_predictors.control import GRACE_MS, Control
from dormouse_predictors.engines import engine_class
from dormouse_predictors.errors import CallError, WeightsError
from dormouse_predictors.fetching import Fetching
from dormouse_predictors.listener import Listener
from dormouse_predictors.meters import Metering
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.offer import Offer
from dormouse_predictors.placing import Placement
from dormouse_predictors.progress import Progress
from dormouse_predictors.resident import Resident
from dormouse_predictors.revocations import follow
from dormouse_predictors.revoked import Revoked
from dormouse_predictors.scheduler import Scheduler
from dormouse_predictors.server import KServeApplication, ServedModel
from dormouse_predictors.usage import Instance, Reporter, Sender
from dormouse_predictors.weights import Weights
from dormouse_predictors.witness import Witness
from dormouse_predictors.worker import Worker

SPOOL_SECONDS = 2.0
WAIT_SECONDS = 10
"""Until whoever was refused because we could not start may try again."""

_log = structlog.get_logger()


class StartFailed(Exception):
    """The predictor cannot serve; `code` and text go to the nest."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Shared:
    """What is built before the fork and used after it."""

    kserve: KServeApplication
    metrics: Metrics


def prepare() -> Shared:
    return Shared(KServeApplication(), Metrics())


def run(
    config: PredictorConfig,
    connection: socket.socket | None,
    shared: Shared | None = None,
    witness: socket.socket | None = None,
) -> int:
    """Serve until told to drain; the exit status. `connection` and `witness` lead to the nest."""
    random.seed()
    log.configure(f"predictor:{config.service}", level=config.log_level)
    predictor = Predictor(config, shared or prepare(), Witness(witness))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(predictor.main(connection))


class Predictor:
    def __init__(self, config: PredictorConfig, shared: Shared, witness: Witness) -> None:
        self._config = config
        self._shared = shared
        self._witness = witness
        self._control = Control()
        self._placed_once = False
        self._progress = Progress(expected_load_ms=config.expected_load_ms)
        self._stop = asyncio.Event()
        self._grace_ms = GRACE_MS

    async def main(self, connection: socket.socket | None) -> int:
        if connection is not None:
            await self._control.open(connection)
        self._loop = asyncio.get_running_loop()
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
        start = time.monotonic()
        service = self._service()
        offer = Offer(service.offered(self._config.profile), self._offered)
        listener = Listener(self._config.host, self._config.port)
        metrics_server, _ = start_http_server(
            self._config.metrics_port, self._config.host, self._shared.metrics.registry
        )
        sender = Sender(self._config.internal_api)
        reporter = Reporter(self._config.spool_folder, sender)
        resident = self._resident(service, offer)
        loaded: asyncio.Future[None] = self._loop.create_future()
        metering = self._metering(service)
        who = self._instance(service, metering)
        scheduler = self._scheduler(resident, reporter, who, loaded)
        self._shared.metrics.queue.set_function(scheduler.waiting)
        self._shared.metrics.unsent_events.set_function(reporter.pending)
        revoked = Revoked(service.id)
        application = self._application(service, offer, scheduler, resident, revoked, metering)
        self._shared.kserve.serve(
            ServedModel(name, partial(resident.has, name)) for name in offer.models
        )
        background = [
            asyncio.create_task(follow(self._config.internal_api, revoked)),
            asyncio.create_task(application.intake.watch(application.at_work)),
        ]
        try:
            await self._listen(listener, application, metrics_server.server_port)
            if not await self._loaded_or_refused(loaded, scheduler, listener):
                return 0
            reporter.start()
            load_ms = int((time.monotonic() - start) * 1000)
            about = {"load_ms": load_ms, "slots": resident.engine.parallel}
            await self._answer(listener, application, metrics_server.server_port, about)
            for task in background:
                task.cancel()
        finally:
            listener.close()
            metering.close()
            self._witness.close()
            scheduler.close(timeout=self._config.timeout_seconds)
            reporter.close(SPOOL_SECONDS)
            sender.close()
            metrics_server.shutdown()
        return 0

    def _service(self) -> Service:
        config = self._config
        try:
            service, wrong = read_service(Path(config.services_folder) / config.service)
        except (CatalogError, OSError) as error:
            raise StartFailed("waking_failed", str(error)) from error
        if config.model not in service.offered(config.profile):
            reasons = [str(error) for error in wrong if f"{config.model}.ini" in str(error)]
            text = f"the catalogue offers no model {config.model!r} in {config.service!r}"
            raise StartFailed("waking_failed", ": ".join([text, *reasons]))
        return service

    def _offered(self) -> dict[str, Model]:
        config = self._config
        service, _ = read_service(Path(config.services_folder) / config.service)
        return service.offered(config.profile)

    def _metering(self, service: Service) -> Metering:
        folder = self._config.meters_folder
        return Metering(
            Path(folder) if folder is not None else None,
            partial(cost_nano, service.spec.prices),
            identity=bytes.fromhex(self._config.instance),
        )

    def _instance(self, service: Service, metering: Metering) -> Instance:
        return Instance(metering.identity.hex(), self._resources(service).gpu)

    def _resident(self, service: Service, offer: Offer) -> Resident:
        resident = Resident(
            engine_class(self._config.engine)(),
            offer.models,
            Weights(Path(self._config.weights)),
            threads=self._config.cores,
            stage=lambda stage, percent: self._threadsafe_stage(stage, percent, resident.loading),
            place=self._placed,
            memory_bytes=self._resources(service).memory_bytes,
        )
        return resident

    def _placed(self, model: Model) -> Placement:
        """For the engine's thread. The first place was found before we were started, if by
        somebody."""
        config, first = self._config, not self._placed_once
        self._placed_once = True
        if first and config.gpu_layers is not None:
            return Placement(config.gpu, config.gpu_layers, config.contexts)
        asking = self._control.place(model, engine=config.engine)
        return asyncio.run_coroutine_threadsafe(asking, self._loop).result()

    def _resources(self, service: Service) -> Resources:
        return service.spec.resources.get(self._config.profile, Resources())

    def _threadsafe_stage(self, stage: str, percent: int | None, model: str | None) -> None:
        """`model`: on which we are working if we should die now."""
        told = {"stage": stage, "percent": percent, "pid": os.getpid()}
        if model is not None:
            told["model"] = model
        self._loop.call_soon_threadsafe(self._say_stage, told)

    def _say_stage(self, told: Mapping[str, Any]) -> None:
        self._progress.note(told["stage"], told["percent"])
        self._control.send("stage", **told)

    def _threadsafe_swapped(self, model: str, load_ms: int) -> None:
        self._loop.call_soon_threadsafe(self._say_swapped, model, load_ms)

    def _say_swapped(self, model: str, load_ms: int) -> None:
        self._progress.note("ready", None)
        self._control.send("model", model=model, load_ms=load_ms)

    def _scheduler(
        self,
        resident: Resident,
        reporter: Reporter,
        who: Instance,
        loaded: "asyncio.Future[None]",
    ) -> Scheduler:
        worker = Worker(
            resident,
            self._shared.metrics,
            books=reporter,
            swapped=self._threadsafe_swapped,
            who=who,
        )

        def first() -> None:
            try:
                ms = resident.ensure(self._config.model)
                self._shared.metrics.load.labels(self._config.model).observe(ms / 1000)
                worker.woke(ms)
            except Exception as error:  # the thread must not die silently
                self._loop.call_soon_threadsafe(loaded.set_exception, error)
            else:
                self._loop.call_soon_threadsafe(loaded.set_result, None)

        scheduler = Scheduler(
            first,
            worker,
            limit=self._config.queue_length,
            max_wait=self._config.max_wait_seconds,
            ageing_seconds=self._config.ageing_seconds,
        )
        scheduler.start()
        return scheduler

    async def _listen(
        self, listener: Listener, application: Application, metrics_port: int
    ) -> None:
        """Before the model is there: calls may come that want to be told how far it is."""
        await listener.start(application, finish_seconds=self._config.timeout_seconds)
        told = {"port": listener.port, "metrics_port": metrics_port, "pid": os.getpid()}
        self._control.send("listening", **told)

    async def _loaded_or_refused(
        self, loaded: "asyncio.Future[None]", scheduler: Scheduler, listener: Listener
    ) -> bool:
        try:
            return await self._loaded(loaded)
        except StartFailed as error:
            text = f"{self._config.service} could not be woken: {error}"
            scheduler.refuse(CallError(503, error.code, text, retry_after=WAIT_SECONDS))
            await listener.stop()
            raise

    async def _loaded(self, loaded: "asyncio.Future[None]") -> bool:
        """False if we are to stop before the model is there."""
        stop = asyncio.create_task(self._stop.wait())
        waited: set[asyncio.Future[Any]] = {loaded, stop}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not loaded.done():
            # A download can take hours; what it has so far is kept for the next time.
            os._exit(0)
        try:
            loaded.result()
        except WeightsError as error:
            raise StartFailed("waking_failed", str(error)) from error
        except CallError as error:
            raise StartFailed(error.code, error.message) from error
        except Exception as error:
            _log.exception("model not loaded", model=self._config.model)
            raise StartFailed("waking_failed", f"{type(error).__name__}: {error}") from error
        return not self._stop.is_set()

    def _application(
        self,
        service: Service,
        offer: Offer,
        scheduler: Scheduler,
        resident: Resident,
        revoked: Revoked,
        metering: Metering,
    ) -> Application:
        surface = Surface(
            service=service.id,
            endpoints=frozenset(service.spec.endpoints),
            offers=offer.has,
            verify=Callers(Path(self._config.jwks), service.id).verify,
            timeout_seconds=self._config.timeout_seconds,
            max_body=self._config.max_body_mb * 1024 * 1024,
        )
        return Application(
            surface,
            scheduler,
            self._shared.kserve.app,
            busy=self._control.load,
            fetch=Fetching(resident).fetch,
            revoked=revoked,
            metering=metering,
            witness=self._witness,
            progress=self._progress,
            refused=lambda code: self._shared.metrics.refusals.labels(code).inc(),
        )

    async def _answer(
        self,
        listener: Listener,
        application: Application,
        metrics_port: int,
        about: Mapping[str, int],
    ) -> None:
        self._progress.note("ready", None)
        told = {"port": listener.port, "model": self._config.model, **about}
        self._control.send("ready", **told, metrics_port=metrics_port, pid=os.getpid())
        _log.info("ready", **told)
        await self._stop.wait()
        application.draining = True
        await asyncio.sleep(self._grace_ms / 1000)
        await listener.stop()
        _log.info("drained")

    def _handle_signals(self, *, managed: bool) -> None:
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        if managed:
            # Ctrl-C reaches the whole process group; the nest says when we drain.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        else:
            self._loop.add_signal_handler(signal.SIGINT, self._terminate)

    def _terminate(self) -> None:
        self._control.send("draining")
        self._drain(GRACE_MS)

    def _drain(self, grace_ms: int) -> None:
        if not self._stop.is_set():
            self._grace_ms = grace_ms
            self._stop.set()
