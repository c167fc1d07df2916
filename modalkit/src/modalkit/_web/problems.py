"""Every error as `application/problem+json` (RFC 9457)."""

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from modalkit.errors import InferenceError, Problem, new_error_id

log = logging.getLogger("modalkit")

MEDIA_TYPE = "application/problem+json"


def respond(problem: Problem, headers: dict[str, str] | None = None, scope: Scope | None = None) -> Response:
    """The answer that says a problem, to the request of `scope`: below `/v2` in the form of the Open Inference Protocol."""
    headers = dict(headers or {})
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after)))
    if scope is not None and f"{path_of(scope)}/".startswith("/v2/"):
        # The protocol has 400 for whatever is wrong with a request.
        status = 400 if problem.status == HTTPStatus.UNPROCESSABLE_ENTITY else problem.status
        said = f"{problem.detail} ({problem.error_id})" if problem.error_id else problem.detail
        return Response(json.dumps({"error": said}), status, headers, media_type="application/json")
    return Response(json.dumps(problem.as_json(), default=str), problem.status, headers, media_type=MEDIA_TYPE)


def path_of(scope: Scope) -> str:
    """The path within this app, wherever it is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root + "/") else path


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


async def _inference_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, InferenceError)
    return respond(error.problem, scope=request.scope)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))  # of the path; the one route that was tried knows only its own
    return respond(Problem(error.status_code, str(error.detail), "http"), headers, request.scope)


def _methods(request: Request) -> list[str]:
    """The methods that the path of a request has."""
    scopes = {method: {**request.scope, "method": method} for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")}
    return [name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)]


async def _request_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults: list[dict[str, Any]] = [{"loc": list(fault["loc"]), "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
    return respond(Problem(422, _summary(faults), "invalid_input", extra={"errors": faults}), scope=request.scope)


async def _unexpected(request: Request, error: Exception) -> Response:
    error_id = new_error_id()
    log.error("%s: a request failed in a way that nobody foresaw", error_id, exc_info=error)
    return respond(Problem(500, "This request failed here; the log has more.", "internal", error_id), scope=request.scope)


def _summary(faults: Sequence[dict[str, Any]]) -> str:
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}{more}"
