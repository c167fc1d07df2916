"""Errors as HTTP answers: one table, JSON for programs and a plain page for browsers."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from freehold.domain import errors
from freehold.gateway.pages import page, paragraph

_log = structlog.get_logger(__name__)


class NotDeployed(errors.NotFound):
    """The address means no function."""


class Malformed(errors.InvalidRequest):
    """What came is not HTTP, or could be read in two ways."""


class ManyFields(Malformed):
    """The head of a request is larger than anybody needs."""


class BodyTooLarge(errors.InvalidRequest):
    pass


class TooSlow(errors.InvalidRequest):
    """The caller began a request and did not go on."""


class UnknownExpectation(errors.InvalidRequest):
    pass


class UnknownVersion(errors.InvalidRequest):
    pass


class NoProxyToken(errors.Unauthenticated):
    """The function wants a proxy token."""


class TooManyConnections(errors.ResourceExhausted):
    """Of one address."""


class Stopping(errors.Unavailable):
    """The engine ends, and the next one may be there soon."""


class NoRoomInTime(errors.DeadlineExceeded):
    """No container could take the request while its caller waited."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    error: str  # one word for programs
    hint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


_ANSWERS: Mapping[type[Exception], Answer] = {
    NotDeployed: Answer(
        404, "not_found", "`modal app list` shows what is deployed; `modal deploy app.py` prints the address of each function."
    ),
    errors.NotFound: Answer(404, "not_found"),
    errors.InvalidRequest: Answer(400, "invalid_request"),
    ManyFields: Answer(431, "too_large"),
    BodyTooLarge: Answer(413, "too_large"),
    TooSlow: Answer(408, "too_slow"),
    UnknownExpectation: Answer(417, "not_supported"),
    UnknownVersion: Answer(505, "not_supported"),
    NoProxyToken: Answer(
        401, "unauthorized", "`modal workspace proxy-tokens create` makes a token.", {"WWW-Authenticate": 'Bearer realm="freehold"'}
    ),
    TooManyConnections: Answer(429, "too_busy", "Close connections, or keep fewer of them.", {"Retry-After": "1"}),
    Stopping: Answer(503, "stopping", "Try again in a moment.", {"Retry-After": "1"}),
    NoRoomInTime: Answer(503, "too_busy", "Try again in a moment.", {"Retry-After": "1"}),
    errors.Unauthenticated: Answer(403, "forbidden"),  # 401 would promise a challenge; links of blobs have none
    errors.PermissionDenied: Answer(403, "forbidden"),
    errors.AlreadyExists: Answer(409, "conflict"),
    errors.Conflict: Answer(409, "conflict"),
    errors.ResourceExhausted: Answer(503, "too_busy", "Try again in a moment.", {"Retry-After": "1"}),
    errors.Unavailable: Answer(502, "container_failed"),
    errors.DeadlineExceeded: Answer(504, "timeout", "Answer sooner, stream the response, or `spawn` the long part and return its id."),
    errors.NotSupported: Answer(501, "not_supported"),
    Exception: Answer(500, "internal", "The log of the engine tells more under this id."),
}


def answer_of(error: Exception) -> Answer:
    """The answer of the nearest kind in the error's ancestry."""
    return next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)


def response_of(error: Exception, *, accept: bytes, path: str) -> Response:
    """The answer in the form that the caller reads; what is not a refusal of ours is logged and shown as an id only."""
    answer = answer_of(error)
    detail = str(error) if isinstance(error, errors.FreeholdError) else _logged(error, path)
    if b"text/html" in accept:
        title = f"{answer.status} {answer.error.replace('_', ' ')}"
        return page(title, *map(paragraph, filter(None, (detail, answer.hint))), status=answer.status, headers=answer.headers)
    content = {"error": answer.error, "detail": detail, "hint": answer.hint}
    return JSONResponse({name: text for name, text in content.items() if text}, answer.status, answer.headers)


def response_to(error: Exception, connection: HTTPConnection) -> Response:
    return response_of(error, accept=connection.headers.get("accept", "").encode("latin-1"), path=connection.url.path)


def _logged(error: Exception, path: str) -> str:
    trace_id = secrets.token_hex(8)
    _log.error("request_failed", trace_id=trace_id, path=path, exc_info=error)
    return f"Something of the engine's own failed (id {trace_id})."
