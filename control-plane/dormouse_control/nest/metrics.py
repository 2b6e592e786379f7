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
        # From a thread of its own: nothing that takes long or changes anything is asked.
        for service in self._services:
            runner = self._services.get(service)
            if runner is None:  # not offered any more since a moment ago
                continue
            awake.add_metric([service], float(runner.is_awake()))
            waiting.add_metric([service], runner.waiting())
            cold_ms = runner.last_cold_start_ms()
            if cold_ms is not None:
                cold.add_metric([service], cold_ms / 1000)
        yield from (awake, waiting, cold)
