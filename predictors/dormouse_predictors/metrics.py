"""What a predictor measures, for Prometheus."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.requests = Counter(
            "dormouse_predictor_requests",
            "Calls by how they ended",
            ["endpoint", "model", "outcome"],
            registry=registry,
        )
        self.refusals = Counter(
            "dormouse_predictor_refusals",
            "Calls that did not reach the engine, by error code",
            ["code"],
            registry=registry,
        )
        self.tokens = Counter(
            "dormouse_predictor_tokens",
            "Tokens read (prompt) and made (completion)",
            ["model", "kind"],
            registry=registry,
        )
        self.first_token = Histogram(
            "dormouse_predictor_time_to_first_token_seconds",
            "From a call's arrival to its first token, waiting included",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.load = Histogram(
            "dormouse_predictor_load_seconds",
            "Time to have a model in memory, downloads included",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue = Gauge(
            "dormouse_predictor_queue_length", "Calls that wait for the engine", registry=registry
        )
        self.unsent_events = Gauge(
            "dormouse_predictor_unsent_usage_events",
            "Usage events that the control plane does not have yet",
            registry=registry,
        )
