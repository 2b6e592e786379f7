"""Numbers of the nest for Prometheus, read off the services whenever somebody scrapes."""

from collections.abc import Iterable, Mapping

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dormouse_control.nest.service import ServiceRunner


class NestMetrics(Collector):
    def __init__(self, services: Mapping[str, ServiceRunner]) -> None:
        self._services = services
        REGISTRY.register(self)

    def collect(self) -> Iterable[Metric]:
        awake = GaugeMetricFamily(
            "dormouse_service_awake", "1 if a predictor is ready.", labels=["service"]
        )
        waiting = GaugeMetricFamily(
            "dormouse_service_waiting_calls", "Calls that wait for a predictor.", labels=["service"]
        )
        cold = GaugeMetricFamily(
            "dormouse_service_last_cold_start_seconds",
            "How long the last call that woke the service waited.",
            labels=["service"],
        )
        for runner in self._services.values():
            status = runner.status()
            awake.add_metric([status.id], float(status.status == "awake"))
            waiting.add_metric([status.id], status.queue)
            if status.last_cold_start_ms is not None:
                cold.add_metric([status.id], status.last_cold_start_ms / 1000)
        yield from (awake, waiting, cold)
