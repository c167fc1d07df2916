"""Templates, and how times, lengths and sizes are written in them. All text is escaped; what a page shows of users' output is text."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from modal_proto import api_pb2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from freehold.control.services.call_history import PastCall, PastInput
from freehold.dashboard.access import ROOT, Session
from freehold.dashboard.acting import is_whole
from freehold.dashboard.guard import SESSION
from freehold.domain.cost import written

_R = api_pb2.GenericResult
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ID = re.compile(r"\b(?:ap|fu|fc|in|ta|im|vo)-[A-Za-z0-9]{22}\b")
_NONE = "\N{EN DASH}"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_ENDS = {
    0: "waiting",
    _R.GENERIC_STATUS_SUCCESS: "success",
    _R.GENERIC_STATUS_FAILURE: "failed",
    _R.GENERIC_STATUS_TERMINATED: "cancelled",
    _R.GENERIC_STATUS_TIMEOUT: "timeout",
    _R.GENERIC_STATUS_INIT_FAILURE: "no container",
    _R.GENERIC_STATUS_KERNEL_OOM_KILL: "out of memory",
}
_TONES = {
    "ok": {"success", "ready", "deployed", "built", "live"},
    "busy": {"running", "waiting", "starting", "pending", "building", "wanted", "ephemeral", "detached", "draining", "initializing"},
    "bad": {"failed", "timeout", "no container", "out of memory", "crashed", "not started", "lost"},
}


class Views:
    """Renders pages. `facts` are what every page shows of the engine."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._templates = Environment(
            loader=PackageLoader("freehold.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters |= {
            "ago": ago,
            "moment": moment,
            "date": lambda seconds: datetime.fromtimestamp(seconds, UTC),
            "span": span,
            "size": size,
            "tone": tone,
            "plain": plain,
            "linked": linked,
            "status": status_of_input,
            "short": short,
            "money": money,
            "rate": rate,
            "amount": amount,
            "gpus": gpus,
        }
        self._templates.globals |= {"ROOT": ROOT, "call_status": call_status, "took": took, **facts}

    def page(self, request: Request, name: str, /, http_status: int = 200, **values: Any) -> HTMLResponse:
        session: Session | None = request.scope.get(SESSION)
        template = self._templates.get_template(f"{name}.html")
        csrf = session.csrf if session else ""
        html = template.render(**values, csrf=csrf, path=request.url.path, is_whole=is_whole(request))
        return HTMLResponse(html, http_status)


def ago(then: datetime | None) -> str:
    """How long ago, in one unit."""
    if then is None:
        return _NONE
    seconds = (datetime.now(UTC) - then).total_seconds()
    return f"in {span(-seconds)}" if seconds < -1 else f"{span(max(seconds, 0))} ago"


def moment(then: datetime | None) -> str:
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if then else _NONE


def span(seconds: float | timedelta | None) -> str:
    """A length of time, short."""
    if seconds is None:
        return _NONE
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 — below, tenths say something
        return f"{seconds:.1f} s"
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{seconds / size:.0f} {unit}"


def size(count: float | None) -> str:
    if count is None:
        return _NONE
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 — of the unit before
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def money(cost: Decimal | str | None) -> str:
    """As `freehold cost` writes it, without the currency."""
    return _NONE if cost is None else written(Decimal(cost))


def rate(price: Decimal) -> str:
    """In full, as it was set."""
    return f"{price.normalize():f}" if price else "not set"


def amount(seconds: float) -> str:
    """Of a resource, over time. What is less than can be shown does not look like nothing."""
    return "<0.1" if 0 < seconds < 0.1 else f"{seconds:,.1f}"  # noqa: PLR2004


def gpus(seconds: Mapping[str, float]) -> str:
    """By device, as `freehold cost` writes them."""
    return " ".join(f"{name} {count:,.0f}" for name, count in sorted(seconds.items())) or _NONE


def plain(text: str) -> str:
    """Without what moves a terminal's cursor and colours its text."""
    return _ANSI.sub("", text).replace("\r\n", "\n")


def linked(text: str) -> Markup:
    """Text in which ids lead to their pages. The rest of it stays text."""
    return Markup(_ID.sub(rf'<a class="id" href="{ROOT}/id/\g<0>">\g<0></a>', str(escape(text))))  # noqa: S704 — escaped here


def short(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def tone(word: str) -> str:
    """Which colour a state has; what it is says its word."""
    return next((name for name, words in _TONES.items() if word in words), "calm")


def status_of_input(item: PastInput) -> str:
    return "running" if item.is_running else _ENDS.get(item.status, "failed")


def call_status(call: PastCall) -> str:
    """The worst of its inputs, or what they wait for."""
    tally = call.tally
    found = {_ENDS.get(status, "failed") for status in tally.by_status}
    found |= {"running" if call.is_running else "waiting"} if tally.unfinished else set()
    for word in ("failed", "timeout", "out of memory", "no container", "cancelled", "running", "waiting"):
        if word in found:
            return word
    return "success" if found else "waiting"


def took(call: PastCall) -> float | None:
    """Seconds from when it was made until its last input ended; None while one has not."""
    ended_at = call.tally.ended_at if not call.tally.unfinished else None
    return (ended_at - call.record.created_at).total_seconds() if ended_at else None
