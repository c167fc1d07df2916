"""structlog, set up once per process: colours in a terminal, JSON elsewhere. What containers print never goes here."""

import logging
import sys
from contextlib import suppress
from typing import TextIO

import structlog

# Without the values of variables, which structlog would add: among them are secrets, tokens and what users send.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


class _Unfailing:
    """A stream whose failures are nobody's business: on a full disk, what the engine does is worth more than what it says."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(level: str = "info", fmt: str = "auto") -> None:
    """Call once, before the first component is built."""
    number = logging.getLevelNamesMapping()[level.upper()]
    pretty = sys.stderr.isatty() if fmt == "auto" else fmt == "console"
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = plain if pretty else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _TRACEBACKS if not pretty else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(_Unfailing(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
