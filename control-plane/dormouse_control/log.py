"""JSON lines on stdout for our own and for libraries' log records, with nothing secret in them.

Modules only take `structlog.get_logger()` (or logging's); each process calls `configure` once.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO  # a log record holds values of any shape

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[hidden]"

# Ends with, so that `key_id` and `prompt_tokens` stay readable.
_SECRET_NAMES = re.compile(
    r"(^|[^a-z])(authorization|password|password_hash|token|key|secret|cookie|credentials)$",
    re.IGNORECASE,
)
_SECRET_VALUES = re.compile(
    r"dm_[0-9A-Za-z]{8,}"  # API keys
    r"|\$argon2id\$[^\s'\",)]+"  # password hashes
    r"|eyJ[\w-]+\.[\w-]+(\.[\w-]*)?"  # JSON web tokens
    r"|ses_[0-9a-z]{26}\.\d+\.[\w-]+"  # refresh tokens
    r"|(?<=://)[^\s/:@]+:[^\s@]+(?=@)"  # user:password of a URL
    r"|(?<=bearer )[\w.~+/=-]+",
    re.IGNORECASE,
)
_DEEPEST = 6


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
    return {name: _hidden(name, value) for name, value in event.items()}


class _Named:
    """Puts time, level and process first, where a reader looks."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        first = {"time": event.pop("time", None), "level": event.pop("level", None)}
        return first | {"process": self._process, "event": event.pop("event", None)} | dict(event)


def _hidden(name: str, value: Any) -> Any:
    return HIDDEN if value is not None and _SECRET_NAMES.search(name) else _scrubbed(value, 0)


def _scrubbed(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return "[too deep]"
    if isinstance(value, str):
        return _SECRET_VALUES.sub(HIDDEN, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _SECRET_NAMES.search(str(key)) else _scrubbed(found, depth + 1)
            for key, found in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(found, depth + 1) for found in value]
    return _SECRET_VALUES.sub(HIDDEN, str(value))
