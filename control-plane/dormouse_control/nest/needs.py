"""What predictors are held to, from catalogue and settings."""

import os
from dataclasses import replace

from dormouse.catalog import Catalog, Service
from dormouse_control import predictor_users
from dormouse_control.nest import users
from dormouse_control.nest.cgroups import Limits
from dormouse_control.nest.confinement import Confinement, Needs
from dormouse_control.settings import Settings

_BYTES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def confinement(settings: Settings, catalog: Catalog) -> Confinement:
    """Raises `NotArranged` where predictors must have users of their own and cannot, and OSError.
    Services that are new get their users here."""
    group = predictor_users.group(settings)
    required = settings.predictor_user not in ("auto", "platform")
    if group is not None and not predictor_users.arranged(settings, group):
        if required:
            raise predictor_users.NotArranged(f"{settings.run_folder} is not open to group {group}")
        group = None  # said when the platform started
    found = {} if group is None else _users(settings, group, catalog)
    return Confinement(
        group=group,
        required=required,
        folders=tuple(str(each) for each in (settings.home, settings.services, settings.weights)),
        cgroup=settings.predictor_cgroup,
        needs={
            name: replace(_needs(settings, service), user=found.get(name))
            for name, service in catalog.services.items()
        },
    )


def _needs(settings: Settings, service: Service) -> Needs:
    resources = service.spec.resources.get(settings.profile)
    memory, cpu = ("1Gi", "1") if resources is None else (resources.memory, resources.cpu)
    models = service.offered(settings.profile).values()
    return Needs(
        Limits(memory=bytes_of(memory), cpus=cpus_of(cpu), threads=_threads()),
        tuple(sorted({model.spec.source.partition(":")[0] for model in models})),
    )


def _users(settings: Settings, group: int, catalog: Catalog) -> dict[str, int]:
    try:
        found = users.numbers(settings.home / "predictor-users.json", list(catalog.services))
    except users.TooManyServices as error:
        raise predictor_users.NotArranged(str(error)) from error
    return {service: group + number for service, number in found.items()}


def bytes_of(text: str) -> int:
    """Of Kubernetes' notation, such as 512Mi."""
    return int(text[:-2]) * _BYTES[text[-2:]]


def cpus_of(text: str) -> float:
    """Of Kubernetes' notation, such as 500m."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _threads() -> int:
    """Libraries start as many as there are processors, some of them several times."""
    return 256 + 8 * (os.cpu_count() or 1)
