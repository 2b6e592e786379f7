"""What one predictor is made of."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dormouse.catalog import CatalogError, Model, Resources, Service, read_service
from dormouse.prices import cost_nano
from dormouse_predictors import shared as sharing
from dormouse_predictors.app import Application
from dormouse_predictors.callers import Callers
from dormouse_predictors.config import PredictorConfig
from dormouse_predictors.control import Control
from dormouse_predictors.engines import engine_class
from dormouse_predictors.fetching import Fetching
from dormouse_predictors.health import Health
from dormouse_predictors.loading import FirstLoad, StartFailed
from dormouse_predictors.loads import Loads
from dormouse_predictors.meters import Metering
from dormouse_predictors.offer import Offer
from dormouse_predictors.placing import Placement, Places
from dormouse_predictors.progress import Progress
from dormouse_predictors.resident import Resident
from dormouse_predictors.revoked import Revoked
from dormouse_predictors.scheduler import Scheduler
from dormouse_predictors.sending import Sender
from dormouse_predictors.shared import Shared
from dormouse_predictors.stages import Stages
from dormouse_predictors.surface import Surface
from dormouse_predictors.usage import Instance, Reporter
from dormouse_predictors.weights import Weights
from dormouse_predictors.witness import Witness
from dormouse_predictors.worker import Worker

SPOOL_SECONDS = 2.0


@dataclass(frozen=True)
class Around:
    """What is there before the predictor knows its service; `witness` and `control` lead to the
    nest."""

    config: PredictorConfig
    shared: Shared
    control: Control
    witness: Witness
    progress: Progress


@dataclass(frozen=True)
class Parts:
    application: Application
    scheduler: Scheduler
    resident: Resident
    revoked: Revoked
    first_load: FirstLoad
    reporter: Reporter
    sender: Sender
    metering: Metering

    def close(self, timeout: float) -> None:
        """Calls that run have `timeout` seconds to end."""
        self.metering.close()
        self.scheduler.close(timeout=timeout)
        self.reporter.close(SPOOL_SECONDS)
        self.sender.close()


def build(around: Around) -> Parts:
    """On the event loop. Raises `StartFailed`."""
    config, metrics = around.config, around.shared.metrics
    service = _service(config)
    resources = service.spec.resources.get(config.profile, Resources())
    offer = Offer(service.offered(config.profile), partial(_offered, config))
    stages = Stages(around.control, around.progress)
    resident = _resident(around, offer, stages, resources)
    sender = Sender(config.internal_api)
    reporter = Reporter(config.spool_folder, sender)
    metering = _metering(config, service)
    who = Instance(metering.identity.hex(), resources.gpu)
    worker = Worker(resident, metrics, books=reporter, swapped=stages.swapped, who=who)
    first_load = FirstLoad(config.model, resident, worker, metrics)
    scheduler = _scheduler(config, first_load.run, worker)
    metrics.queue.set_function(scheduler.waiting)
    metrics.unsent_events.set_function(reporter.pending)
    revoked = Revoked(service.id)
    application = Application(
        _surface(config, service, offer),
        scheduler,
        Health(offer.models, resident.has, lambda: around.shared.kserve or sharing.kserve()),
        busy=Loads(around.control, scheduler.waiting).note,
        fetch=Fetching(resident).fetch,
        revoked=revoked,
        metering=metering,
        witness=around.witness,
        progress=around.progress,
        refused=lambda code: metrics.refusals.labels(code).inc(),
    )
    return Parts(application, scheduler, resident, revoked, first_load, reporter, sender, metering)


def _service(config: PredictorConfig) -> Service:
    try:
        service, wrong = read_service(Path(config.services_folder) / config.service)
    except (CatalogError, OSError) as error:
        raise StartFailed("waking_failed", str(error)) from error
    if config.model not in service.offered(config.profile):
        reasons = [str(error) for error in wrong if f"{config.model}.ini" in str(error)]
        text = f"the catalogue offers no model {config.model!r} in {config.service!r}"
        raise StartFailed("waking_failed", ": ".join([text, *reasons]))
    return service


def _offered(config: PredictorConfig) -> dict[str, Model]:
    service, _ = read_service(Path(config.services_folder) / config.service)
    return service.offered(config.profile)


def _resident(around: Around, offer: Offer, stages: Stages, resources: Resources) -> Resident:
    config = around.config
    first = None
    if config.gpu_layers is not None:
        first = Placement(config.gpu, config.gpu_layers, config.contexts)
    return Resident(
        engine_class(config.engine)(),
        offer.models,
        Weights(Path(config.weights)),
        threads=config.cores,
        stage=stages.tell,
        place=Places(partial(around.control.place, engine=config.engine), first).find,
        memory_bytes=resources.memory_bytes,
    )


def _metering(config: PredictorConfig, service: Service) -> Metering:
    folder = config.meters_folder
    return Metering(
        Path(folder) if folder is not None else None,
        partial(cost_nano, service.spec.prices),
        identity=bytes.fromhex(config.instance),
    )


def _scheduler(config: PredictorConfig, first: Callable[[], None], worker: Worker) -> Scheduler:
    return Scheduler(
        first,
        worker,
        limit=config.queue_length,
        max_wait=config.max_wait_seconds,
        ageing_seconds=config.ageing_seconds,
        soon=asyncio.get_running_loop().call_soon,
    )


def _surface(config: PredictorConfig, service: Service, offer: Offer) -> Surface:
    return Surface(
        service=service.id,
        endpoints=frozenset(service.spec.endpoints),
        offers=offer.has,
        verify=Callers(Path(config.jwks), service.id).verify,
        timeout_seconds=config.timeout_seconds,
        max_body=config.max_body_mb * 1024 * 1024,
    )
