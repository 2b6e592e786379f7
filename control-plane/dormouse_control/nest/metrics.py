"""Numbers of the nest for Prometheus, read off the services whenever somebody scrapes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from dormouse_control.nest.memory import MemoryHandler
from dormouse_control.nest.service import ServiceRunner
from dormouse_control.runtimes.base import ServiceStatus

_MIB = 2**20
_STATES = ("starting", "ready", "draining")


class NestMetrics(Collector):
    def __init__(
        self,
        services: Mapping[str, ServiceRunner],
        memory: MemoryHandler,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._services = services
        self._memory = memory
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """None in advance: to collect them looks at the machine."""
        return ()

    def collect(self) -> Iterable[Metric]:
        statuses = [runner.status() for runner in list(self._services.values())]
        yield from _services(statuses)
        yield from _memory(self._memory)


def _services(statuses: Sequence[ServiceStatus]) -> Iterable[Metric]:
    awake = GaugeMetricFamily(
        "dormouse_service_awake", "1 if a predictor is ready.", labels=["service"]
    )
    predictors = GaugeMetricFamily(
        "dormouse_service_predictors", "Predictors by state.", labels=["service", "state"]
    )
    waiting = GaugeMetricFamily(
        "dormouse_service_waiting_calls", "Calls that wait for a predictor.", labels=["service"]
    )
    quarantined = GaugeMetricFamily(
        "dormouse_service_quarantined_models",
        "Models that are refused by name, because loading them ended predictors.",
        labels=["service"],
    )
    cold = GaugeMetricFamily(
        "dormouse_service_last_cold_start_seconds",
        "How long the last call that woke the service waited.",
        labels=["service"],
    )
    for status in statuses:
        awake.add_metric([status.id], float(status.status == "awake"))
        found = Counter(each.state for each in status.predictors)
        for state in _STATES:
            predictors.add_metric([status.id, state], found[state])
        waiting.add_metric([status.id], status.queue)
        quarantined.add_metric([status.id], len(status.quarantined))
        if status.last_cold_start_ms is not None:
            cold.add_metric([status.id], status.last_cold_start_ms / 1000)
    return awake, predictors, waiting, quarantined, cold


def _memory(memory: MemoryHandler) -> Iterable[Metric]:
    """`where` is "ram", or "gpu" and its number."""
    planned = GaugeMetricFamily(
        "dormouse_memory_planned_bytes", "Set aside for models that are placed.", labels=["where"]
    )
    free = GaugeMetricFamily(
        "dormouse_memory_free_bytes",
        "Of what there is for models, what nobody has taken.",
        labels=["where"],
    )
    total = GaugeMetricFamily(
        "dormouse_memory_total_bytes", "What there is for models.", labels=["where"]
    )
    promised, machine = memory.planned_mb(), memory.machine()
    gpus = [(gpu.index, gpu.space) for gpu in machine.gpus]
    for index, space in [(None, machine.ram), *gpus]:
        where = ["ram" if index is None else f"gpu{index}"]
        planned.add_metric(where, promised.get(index, 0.0) * _MIB)
        free.add_metric(where, space.free_mb * _MIB)
        total.add_metric(where, space.total_mb * _MIB)
    return planned, free, total
