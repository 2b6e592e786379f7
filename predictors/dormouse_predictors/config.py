"""What one predictor is told when it starts: the JSON line of the nest, or the command line."""

import json
import os
import uuid
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import get_args

from dormouse.catalog import Profile


class ConfigError(ValueError):
    """The message does not describe a predictor."""


@dataclass(frozen=True)
class PredictorConfig:
    """`internal_api` is the path of a Unix socket or a URL; `model` is loaded first.

    `user` and `group` are what a forked predictor becomes, if the nest, being root, says so.
    `gpu`, `gpu_layers` and `contexts` say where it goes (`placing.Placement`); else it finds out by
    itself.

    `instance`, 32 hexadecimal digits that no other predictor ever has, is the process's name in
    usage events (`UsageEvent.predictor`) and meters; the nest reports under it how long it lived.
    """

    service: str
    engine: str
    services_folder: str
    profile: Profile
    model: str
    jwks: str
    spool: str
    internal_api: str
    weights: str
    log_level: str = "info"
    threads: int = 0
    timeout_seconds: float = 600
    queue_length: int = 100
    max_wait_seconds: float = 60
    ageing_seconds: float = 30
    expected_load_ms: int | None = None
    gpu: int | None = None
    gpu_layers: int | None = None
    contexts: int | None = None
    max_body_mb: int = 32
    meters_folder: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    metrics_port: int = 0
    user: int | None = None
    group: int | None = None
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def cores(self) -> int:
        """Threads that a call may use at most."""
        return self.threads if self.threads > 0 else len(os.sched_getaffinity(0))

    @property
    def spool_folder(self) -> Path:
        return Path(self.spool)


def parse(line: bytes) -> PredictorConfig:
    """Raises `ConfigError`. Fields that a newer nest sends and we do not know are left out."""
    try:
        document = json.loads(line)
        known = {each.name for each in fields(PredictorConfig)}
        config = PredictorConfig(**{k: v for k, v in document.items() if k in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a predictor's configuration: {error}") from error
    if config.profile not in get_args(Profile):
        raise ConfigError(f"profile is {config.profile!r}, not one of {get_args(Profile)}")
    return config
