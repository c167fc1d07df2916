"""Traces and metrics by OpenTelemetry, where settings or the environment name a receiver; otherwise nothing is imported and nothing done.

A request's trace: the HTTP request, in it one call for each item, in it the item's part of a batch. The batch itself, with the pipeline's
steps in it, is linked to every item; a batch of one item is a part of that item's trace. What is done about them is in `_otel`.
"""

import contextlib
import importlib.util
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from modalkit._parcels import Outcome, Receipt
from modalkit._spans import Span
from modalkit.settings import ENDPOINT_VARIABLES, ObservabilityConfig, Settings

if TYPE_CHECKING:
    from modalkit._otel import Otel

log = logging.getLogger("modalkit")

FLUSH_SECONDS = 8.0  # that the end of a container waits for a receiver; the engine gives it about 30


_active: "Otel | None" = None
_lock = threading.Lock()
_was_told = False
_has_failed = False  # to begin; it is not tried again with every request
_no_span: AbstractContextManager[Span] = nullcontext(Span())


def begin(settings: Settings, service_name: str) -> None:
    """Sends traces and metrics from here on, if they are wanted. Trouble with them is logged and never in the way of the service."""
    global _active, _has_failed  # noqa: PLW0603  # one for the process, as the SDK's own providers
    if _active is not None or _has_failed or not is_wanted(settings.app_settings.observability_config):
        return
    with _lock:
        if _active is None and not _has_failed:
            _active = _connect(settings, service_name)
            _has_failed = _active is None


def is_on() -> bool:
    return _active is not None


def flush() -> None:
    """Sends what is not sent yet, within `FLUSH_SECONDS`."""
    if (active := _active) is not None:
        # In a thread that may be left behind: the SDK's own deadlines add up to minutes where the receiver does not answer.
        sender = threading.Thread(target=active.flush, name="modalkit-flush", daemon=True)
        sender.start()
        sender.join(FLUSH_SECONDS)


def end() -> None:
    """Stops sending; `begin` may begin again."""
    global _active, _has_failed
    flush()
    active, _active, _has_failed = _active, None, False
    if active is not None:
        active.shutdown()


def is_wanted(config: ObservabilityConfig) -> bool:
    """Whether this process has somewhere to send to, and nothing says not to."""
    if config.enabled is False or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if config.endpoint or any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        return True
    if config.enabled:
        _tell_once(
            "observability_config.enabled is true, and neither endpoint nor %s says where to send: nothing is sent", ENDPOINT_VARIABLES[0]
        )
    return False


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """One step of work, in what is being done now."""
    return _no_span if _active is None else _active.span(name, attributes)


def request_span(scope: Mapping[str, Any]) -> AbstractContextManager[Span]:
    """One HTTP request, in the trace that it says it belongs to; `scope` is ASGI's, and has the route by the end."""
    return _no_span if _active is None else _active.request_span(scope)


def call_span(model: str) -> AbstractContextManager[Span]:
    """From the moment an item begins to wait until its outcome is there; inside, `carrier()` is this call."""
    return _no_span if _active is None else _active.call_span(model)


def batch_span(model: str, carriers: Sequence[dict[str, str]]) -> AbstractContextManager[Span]:
    """The work on one engine batch, linked to the call of every item."""
    return _no_span if _active is None or not carriers else _active.batch_span(model, carriers)


def stream_span(model: str, carrier: dict[str, str]) -> AbstractContextManager[Any]:
    """The work on one item that is answered piece by piece; may be held over a `yield`."""
    return _no_span if _active is None else _active.stream_span(model, carrier)


def delivery_span(kind: str, place: str, carrier: dict[str, str]) -> AbstractContextManager[Span]:
    """One end of a job on its way to a webhook or a queue, tries again included; a part of the trace of who began the job."""
    return _no_span if _active is None else _active.delivery_span(kind, place, carrier)


def annotate(name: str, value: str) -> None:
    """Says something of the request that is being answered."""
    if _active is not None:
        _active.annotate(name, value)


def carrier() -> dict[str, str]:
    """The current W3C context, to travel inside an item."""
    return {} if _active is None else _active.carrier()


def request_answered(method: str, route: str, status: int, seconds: float) -> None:
    """Measures one HTTP request."""
    if _active is not None and _active.meters:
        _active.meters.request_answered(method, route, status, seconds)


def item_failed(model: str, kind: str) -> None:
    """Measures one item that was answered with a problem."""
    if _active is not None and _active.meters:
        _active.meters.item_failed(model, kind)


def batch_done(model: str, receipt: Receipt, waits: Sequence[float], outcomes: Sequence[Outcome]) -> None:
    """Measures one engine batch."""
    if _active is not None and _active.meters:
        _active.meters.batch_done(model, receipt, waits, outcomes)


def delivery_done(kind: str, *, is_delivered: bool, seconds: float) -> None:
    """Measures one delivery of a job's end, tries again included."""
    if _active is not None and _active.meters:
        _active.meters.delivery_done(kind, is_delivered=is_delivered, seconds=seconds)


@contextlib.contextmanager
def sending(settings: Settings, service_name: str) -> Iterator[None]:
    """For tests: sends within the block only."""
    begin(settings, service_name)
    try:
        yield
    finally:
        end()


def _connect(settings: Settings, service_name: str) -> "Otel | None":
    try:
        if (
            importlib.util.find_spec("opentelemetry.sdk") is None
            or importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is None
        ):
            raise ModuleNotFoundError  # noqa: TRY301  # as when one of their own parts is missing
        from modalkit._otel import Otel  # noqa: PLC0415  # half a second of imports that most apps have no use for

        return Otel(settings.app_settings.observability_config, service_name)
    except ModuleNotFoundError:
        _tell_once("Traces and metrics are wanted, and OpenTelemetry is not installed: pip install 'modalkit[otel]'")
    except Exception:
        log.exception("Traces and metrics cannot be sent")
    return None


def _tell_once(message: str, *values: object) -> None:
    global _was_told  # noqa: PLW0603
    if not _was_told:
        _was_told = True
        log.warning(message, *values)
