"""Log lines as containers wrote them."""

from dataclasses import dataclass
from enum import IntEnum


class LogSource(IntEnum):
    """Numbered as on the wire (`FileDescriptor`)."""

    STDOUT = 1
    STDERR = 2
    SYSTEM = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A piece of output: usually whole lines, never re-encoded. `at` is seconds since the epoch."""

    at: float
    source: LogSource
    text: str
    task_id: str = ""
    function_id: str = ""
    input_id: str = ""
    call_id: str = ""
