"""Numbers of the supervisor for Prometheus, read off its children whenever somebody scrapes."""

from collections.abc import Iterable, Sequence

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dormouse_control.supervisor.child import Child


class SupervisorMetrics(Collector):
    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        REGISTRY.register(self)

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("dormouse_process_up", "1 if the process runs.", labels=["process"])
        restarts = CounterMetricFamily(
            "dormouse_process_restarts",
            "How often the process ended by itself and was started again.",
            labels=["process"],
        )
        for child in self._children:
            up.add_metric([child.spec.name], float(child.pid is not None))
            restarts.add_metric([child.spec.name], child.restarts)
        yield from (up, restarts)
