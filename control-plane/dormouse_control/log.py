"""JSON lines on stdout for our own and for libraries' log records, with nothing secret in them.

Modules only take `structlog.get_logger()` (or logging's); each process calls `configure` once.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dormouse.scrubbing import scrubbed


def configure(process: str, level: str, stream: TextIO | None = None) -> None:
    """Log records of this process, from `level` up, as JSON lines on `stream` (stdout)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _Named(process),
                scrub,
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            ],
        )
    )
    # With stdout gone, logging would print the record to stderr as it was before scrubbing.
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "asyncio", "alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hides values of secret names, and whatever looks like one of our credentials."""
    return scrubbed(event)


class _Named:
    """Puts time, level and process first, where a reader looks."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        first = {"time": event.pop("time", None), "level": event.pop("level", None)}
        return first | {"process": self._process, "event": event.pop("event", None)} | dict(event)
