"""What each service needs when it wakes, from catalogue and settings. Pure."""

import math
import os

from dormouse.catalog import Catalog, Profile, Service
from dormouse_control.nest.plan import Plan
from dormouse_control.settings import Settings

# Weights may have to be downloaded first: an hour for several gigabytes over a thin line.
WAKE_SECONDS = 3600.0


def plans(settings: Settings, catalog: Catalog) -> list[Plan]:
    return [
        _plan(settings, service)
        for service in catalog.services.values()
        if service.offered(settings.profile)
    ]


def _plan(settings: Settings, service: Service) -> Plan:
    scale = service.spec.scale
    offered = service.offered(settings.profile)
    default = service.spec.default_model.get(settings.profile)
    return Plan(
        service=service.id,
        first_model=default if default in offered else next(iter(offered)),
        idle_seconds=scale.idle_seconds if settings.idle_seconds is None else settings.idle_seconds,
        wake_seconds=WAKE_SECONDS,
        queue_length=scale.queue_length,
        gpus=_gpus(service, settings.profile),
        min_replicas=max(scale.min_replicas, int(service.spec.placement == "dedicated")),
        max_replicas=scale.max_replicas,
        keep_warm=tuple(scale.keep_warm),
        ageing_seconds=settings.ageing_seconds,
        hold_seconds=settings.max_hold_seconds,
        config={
            "service": service.id,
            "engine": service.spec.engine,
            "services_folder": str(settings.services),
            "profile": settings.profile,
            "jwks": str(settings.keys_folder / "jwks.json"),
            "spool": str(settings.spool_folder / service.id),
            "internal_api": str(settings.internal_socket),
            "meters_folder": str(settings.run_folder),
            "weights": str(settings.weights),
            "log_level": settings.log_level,
            "threads": _threads(service, settings.profile),
            "timeout_seconds": scale.timeout_seconds,
            "queue_length": scale.queue_length,
            "ageing_seconds": settings.ageing_seconds,
            "max_body_mb": min(scale.max_body_mb or settings.max_body_mb, settings.max_body_mb),
        },
    )


def _gpus(service: Service, profile: Profile) -> int:
    resources = service.spec.resources.get(profile)
    return 0 if resources is None else resources.gpu


def _threads(service: Service, profile: Profile) -> int:
    """As many as the service may use CPUs: for a tiny model a second one only costs."""
    resources = service.spec.resources.get(profile)
    cpu = resources.cpu if resources is not None else "1"
    wanted = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
    return max(1, min(math.ceil(wanted), os.cpu_count() or 1))
