"""Every error as `application/problem+json` (RFC 9457)."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from modalkit.errors import InferenceError, Problem, new_error_id

log = logging.getLogger("modalkit")

MEDIA_TYPE = "application/problem+json"


def respond(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """The answer that says a problem."""
    headers = dict(headers or {})
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after)))
    return Response(json.dumps(problem.as_json(), default=str), problem.status, headers, media_type=MEDIA_TYPE)


def invalid(error: ValidationError, prefix: Sequence[str | int] = ("body",)) -> Problem:
    """422 with the path, the kind and the words of every fault."""
    faults = [
        {"loc": [*prefix, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]}
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return Problem(422, _summary(faults), "invalid_input", extra={"errors": faults})


def install(app: FastAPI) -> None:
    """Makes every exception of the app a problem."""
    app.add_exception_handler(InferenceError, _inference_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _request_invalid)
    app.add_exception_handler(Exception, _unexpected)


async def _inference_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, InferenceError)
    return respond(error.problem)


async def _http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return respond(Problem(error.status_code, str(error.detail), "http"), dict(error.headers or {}))


async def _request_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults: list[dict[str, Any]] = [{"loc": list(fault["loc"]), "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
    return respond(Problem(422, _summary(faults), "invalid_input", extra={"errors": faults}))


async def _unexpected(_: Request, error: Exception) -> Response:
    error_id = new_error_id()
    log.error("%s: a request failed in a way that nobody foresaw", error_id, exc_info=error)
    return respond(Problem(500, "This request failed here; the log has more.", "internal", error_id))


def _summary(faults: Sequence[dict[str, Any]]) -> str:
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}{more}"
