"""What the pages' handlers share: fields of a change, places in a list, who acts."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from freehold.dashboard.access import ROOT, Session
from freehold.dashboard.guard import FORM, SESSION
from freehold.domain.errors import InvalidRequest
from freehold.store.ports import Place

PART = "freehold.part"  # in the scope: only the content is wanted, for a page that is open
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_whole(request: Request) -> bool:
    """Whether the page is wanted with its frame and its log."""
    return PART not in request.scope


def actor(request: Request) -> str:
    session: Session | None = request.scope[SESSION]
    assert session is not None
    return session.actor


def field(request: Request, name: str) -> str:
    form: dict[str, str] = request.scope[FORM]
    return form.get(name, "")


def whole(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 9:  # noqa: PLR2004 — as many as a setting may have
        msg = f"{name} is a whole number, not {text[:40]!r}."
        raise InvalidRequest(msg)
    return int(text)


def go(path: str) -> Response:
    """After a change: back to a page, which shows it."""
    return RedirectResponse(f"{ROOT}{quote(path, safe='/?=&#-')}", HTTPStatus.SEE_OTHER)


def as_cursor(place: Place | None) -> str:
    """A place in a list, for the address of its next page."""
    return f"{(place[0] - _EPOCH) // timedelta(microseconds=1)}.{place[1]}" if place else ""


def place_in(request: Request) -> Place | None:
    at, _, last_id = request.query_params.get("from", "").partition(".")
    if not at.isdecimal() or len(at) > 17:  # noqa: PLR2004 — microseconds, for some thousand years
        return None
    return _EPOCH + timedelta(microseconds=int(at)), last_id
