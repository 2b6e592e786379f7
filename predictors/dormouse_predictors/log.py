"""JSON lines on stdout: time, level, process, event and, inside a call, request_id."""

import contextlib
import io
import logging
import sys
from typing import TextIO, cast

import structlog

from dormouse.scrubbing import scrubbed

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(process: str, *, level: str = "info", stream: TextIO = sys.stdout) -> None:
    """Send our own events and the libraries' warnings through one renderer."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _process(process),
        structlog.processors.format_exc_info,
        _scrub,
    ]
    quiet = cast(TextIO, _Quiet(stream))
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(level, 20)),
        logger_factory=structlog.PrintLoggerFactory(quiet),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(quiet)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "kserve", "kserve.trace", "transformers"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


class _Quiet(io.TextIOBase):
    """A stream whose failures stay here: a full disk must not end the thread that logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _scrub(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return scrubbed(event)


def _process(name: str) -> structlog.typing.Processor:
    def add(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = name
        return event

    return add
