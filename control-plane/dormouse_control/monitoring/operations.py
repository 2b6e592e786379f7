"""The platform's state: services from the runtime, processes from the supervisor's file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any  # the supervisor's file is JSON

import psutil
import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from dormouse.catalog import Catalog
from dormouse_control.db import Database
from dormouse_control.monitoring.schemas import ProcessRead, ServiceStatusRead
from dormouse_control.runtimes.base import Runtime, RuntimeUnavailable, ServiceStatus

log = structlog.get_logger(__name__)


def services(catalog: Catalog, live: Mapping[str, ServiceStatus]) -> list[ServiceStatusRead]:
    """Every service of the catalogue."""
    return [describe(id, live) for id in catalog.services]


def describe(id: str, live: Mapping[str, ServiceStatus]) -> ServiceStatusRead:
    """One service; "unknown" where the runtime says nothing."""
    if id in live:
        return ServiceStatusRead.model_validate(live[id])
    return ServiceStatusRead(
        id=id,
        status="unknown",
        stage=None,
        models_loaded=[],
        predictors=[],
        queue=0,
        last_cold_start_ms=None,
        eta_ms=None,
        oldest_wait_ms=None,
        expected_wait_ms=None,
        quarantined=[],
    )


def processes(file: Path, *, now: float) -> list[ProcessRead]:
    """What the supervisor started; empty where nobody wrote such a file."""
    try:
        found = json.loads(file.read_text("utf-8"))["processes"]
        return [_process(entry, now=now) for entry in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("processes_file_unreadable", exc_info=True)
        return []


def missing(database: Database, runtime: Runtime) -> list[str]:
    """Names of what does not answer; empty if the platform is ready."""
    found = []
    try:
        with database.reads() as reading:
            reading.execute(text("SELECT 1 FROM alembic_version"))
    except SQLAlchemyError:
        found.append("database")
    try:
        runtime.ping()
    except RuntimeUnavailable:
        found.append("nest")
    return found


def _process(entry: Mapping[str, Any], *, now: float) -> ProcessRead:
    memory = _memory(entry["pid"])
    running = memory is not None
    return ProcessRead(
        name=entry["name"],
        pid=entry["pid"] if running else None,
        state="running" if running else "down",
        uptime_seconds=max(0.0, round(now - entry["started_at"], 1)) if running else None,
        restarts=entry["restarts"],
        memory_bytes=memory or 0,
        metrics_port=entry["metrics_port"],
    )


def _memory(pid: int | None) -> int | None:
    """None if there is no such process."""
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return 0
