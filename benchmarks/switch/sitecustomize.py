"""On the path of the measured engine (`PYTHONPATH`): two signals switch off and on again all that it notes of what passes.

Off, these functions do nothing; the code of each is exchanged where it stands, so that the switch itself costs no time in either state.
"""

import signal
import sys
from types import CodeType
from typing import Any

OFF, ON = signal.SIGRTMIN + 1, signal.SIGRTMIN + 2
_NOTES = {
    "freehold.control.services.counters": ("Counters.call_ended", "Counters.request_ended", "Counters.batch_taken"),
    "freehold.control.services.metrics": ("Metrics.sample", "Metrics.flush"),
    "freehold.control.services.traces": ("Traces.note",),
    "freehold.control.services.usage": ("UsageBook.record", "UsageBook.flush"),
    "freehold.domain.usage": ("Meter.begin", "Meter.end"),
}
_switched_off: dict[Any, CodeType] = {}


def _nothing(*_: Any, **__: Any) -> float:
    return 0.0


async def _nothing_later(*_: Any, **__: Any) -> None:
    """In place of what is awaited."""


def _switch_off(*_: object) -> None:
    for function in (_function(module, name) for module, names in _NOTES.items() for name in names):
        _switched_off.setdefault(function, function.__code__)
        is_awaited = bool(_switched_off[function].co_flags & 0x80)
        function.__code__ = (_nothing_later if is_awaited else _nothing).__code__


def _switch_on(*_: object) -> None:
    for function, code in _switched_off.items():
        function.__code__ = code


def _function(module: str, name: str) -> Any:
    owner, _, method = name.partition(".")
    return getattr(sys.modules[module], owner).__dict__[method]


signal.signal(OFF, _switch_off)
signal.signal(ON, _switch_on)
