"""Function calls over HTTP, for callers in any language: arguments in, result out, both JSON. On the bare host only."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from freehold.domain.errors import DeadlineExceeded, FreeholdError, InvalidRequest, NotFound, ResourceExhausted
from freehold.domain.ids import CallId, is_id
from freehold.domain.json_calls import Fate, NotJson, Outcome

MAX_BODY_BYTES = 16 * 1024 * 1024
_MAX_RESULT_BYTES = 64 * 1024 * 1024  # of a generator's values that are gathered into one array
_MAX_KEY = 255  # characters of an Idempotency-Key
_LONGEST_POLL = 55.0  # seconds, within the idle limit of common proxies
_CANCEL_SECONDS = 5.0  # a control plane that is itself stopping may not listen
_NDJSON = "application/x-ndjson"
_CALL_HEADER = "modal-function-call-id"

_STATUSES: Mapping[Fate, int] = {
    Fate.DONE: 200,
    Fate.FAILED: 500,
    Fate.TIMED_OUT: 504,
    Fate.CANCELLED: 409,
    Fate.NOT_JSON: 422,
    Fate.BROKEN: 502,
}


class Call(Protocol):
    """One call under way, or done."""

    is_generator: bool

    @property
    def id(self) -> CallId: ...

    @property
    def is_kept(self) -> bool:
        """Whether its result can be asked for later."""
        ...

    async def outcome(self, patience: float, *, bytes_as_base64: bool = False) -> Outcome | None:
        """None if it is not done within so many seconds."""
        ...

    def values(self, *, bytes_as_base64: bool = False) -> AsyncIterator[bytes]:
        """What a generator yields, as JSON texts. Raises NotJson."""
        ...

    async def cancel(self) -> None: ...


class Door(Protocol):
    def admits(self, token: str) -> bool:
        """Whether a bearer token is that of a client of this engine."""
        ...


class Calls(Protocol):
    async def start(self, *, environment: str, app: str, function: str, body: bytes, is_async: bool, key: str, traceparent: str) -> Call:
        """Raises NotFound for names that mean nothing, InvalidRequest for a body or a function that cannot be called so."""
        ...

    async def find(self, call_id: CallId) -> Call:
        """Raises NotFound."""
        ...

    def expiry(self) -> datetime:
        """Until when the result of an asynchronous call that is made now is kept."""
        ...


class CallRoutes:
    """`patience` is how long a caller who waits is kept waiting."""

    def __init__(self, calls: Calls, door: Door, *, patience: timedelta) -> None:
        self._calls = calls
        self._door = door
        self._patience = patience.total_seconds()
        self.routes = [
            Route("/call/{app}/{function}", self._call, methods=["POST"]),
            Route("/call/{call_id}", self._poll, methods=["GET"]),
            Route("/call/{call_id}", self._cancel, methods=["DELETE"]),
        ]

    async def _call(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        query = _Query(request, {"environment", "async", "bytes"})
        is_async = query.flag("async")
        body = await _body(request)
        if body is None:
            text = f"The body of a call may have {MAX_BODY_BYTES // 1024**2} MiB. Send where to find what is larger."
            return _refused(413, "too_large", text)
        call = await self._calls.start(
            environment=query.text("environment"),
            app=request.path_params["app"],
            function=request.path_params["function"],
            body=body,
            is_async=is_async,
            key=_idempotency_key(request),
            traceparent=request.headers.get("traceparent", ""),
        )
        if is_async:
            return self._accepted(call, request)
        if call.is_generator and _NDJSON in request.headers.get("accept", ""):
            return _Lines(call, bytes_as_base64=query.is_base64)
        return await self._waited(call, request, bytes_as_base64=query.is_base64)

    async def _waited(self, call: Call, request: Request, *, bytes_as_base64: bool) -> Response:
        """The result. A call that nobody waits for any more is cancelled, unless its result is kept for whoever asks again."""
        waiting = _Waiting(call, request, self._patience, bytes_as_base64=bytes_as_base64)
        outcome = await waiting.run()
        if outcome is not None:
            return _told(outcome, call)
        if _idempotency_key(request):
            return self._accepted(call, request)
        await call.cancel()
        if waiting.caller_has_left:
            return Response(status_code=400)
        msg = f"The function did not answer within {self._patience:g} s, so the call was cancelled. Call it with ?async=1 and poll."
        raise DeadlineExceeded(msg)

    async def _poll(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        query = _Query(request, {"wait", "bytes", "expires"})
        try:
            call = await self._calls.find(_call_id(request))
        except NotFound as error:
            if query.number("expires", default=float("inf")) < datetime.now(UTC).timestamp():
                return _refused(410, "expired", "The result of this call is kept no longer.")
            raise error from None
        outcome = await call.outcome(min(query.number("wait"), _LONGEST_POLL), bytes_as_base64=query.is_base64)
        return _told(outcome, call) if outcome is not None else self._accepted(call, request)

    async def _cancel(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        await (await self._calls.find(_call_id(request))).cancel()
        return Response(status_code=204)

    def _accepted(self, call: Call, request: Request) -> Response:
        """The call goes on: where to ask for its result."""
        path = f"/call/{call.id}?expires={int(self._calls.expiry().timestamp())}"
        if "expires" in request.query_params:
            path = f"/call/{call.id}?expires={request.query_params['expires']}"
        url = f"{_scheme(request)}://{request.headers.get('host', '')}{path}"
        headers = {"Location": path, "Retry-After": "1", _CALL_HEADER: call.id}
        return JSONResponse({"call_id": call.id, "status": "running", "url": url}, 202, headers)

    def _refusal(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._door.admits(token.strip()):
            return None
        text = "Send the token of a client: Authorization: Bearer <token id>:<token secret>. `freehold login` shows where it is."
        return _refused(401, "unauthorized", text, {"WWW-Authenticate": 'Bearer realm="freehold"'})


class _Waiting:
    """Waits for a call while listening whether its caller leaves."""

    def __init__(self, call: Call, request: Request, patience: float, *, bytes_as_base64: bool) -> None:
        self._call = call
        self._request = request
        self._patience = patience
        self._bytes_as_base64 = bytes_as_base64
        self._outcome: Outcome | None = None
        self._failure: FreeholdError | None = None
        self.caller_has_left = False

    async def run(self) -> Outcome | None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, group.cancel_scope)
            with anyio.move_on_after(self._patience):
                await self._wait()
            group.cancel_scope.cancel()
        if self._failure:
            raise self._failure
        return self._outcome

    async def _wait(self) -> None:
        """A failure is kept, not raised: a task group would wrap it."""
        try:
            gathered = await self._gathered() if self._call.is_generator else b""
            outcome = await self._call.outcome(self._patience, bytes_as_base64=self._bytes_as_base64)
        except NotJson as error:
            outcome = Outcome(fate=Fate.NOT_JSON, detail=str(error))
        except FreeholdError as error:
            self._failure = error
            return
        is_list = self._call.is_generator and outcome is not None and outcome.fate is Fate.DONE
        self._outcome = Outcome(fate=Fate.DONE, content=gathered) if is_list else outcome

    async def _gathered(self) -> bytes:
        values, size = [], 0
        async for value in self._call.values(bytes_as_base64=self._bytes_as_base64):
            values.append(value)
            size += len(value)
            if size > _MAX_RESULT_BYTES:
                await self._call.cancel()
                msg = f"The generator yielded more than {_MAX_RESULT_BYTES // 1024**2} MiB. Read it as it comes, with Accept: {_NDJSON}."
                raise ResourceExhausted(msg)
        return b"[" + b",".join(values) + b"]"

    async def _listen(self, scope: anyio.CancelScope) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.caller_has_left = True
        scope.cancel()


class _Lines(StreamingResponse):
    """Each value a line. After a failure the last line tells it, and the body has no end: nobody takes this for the whole."""

    def __init__(self, call: Call, *, bytes_as_base64: bool) -> None:
        self._call = call
        self._bytes_as_base64 = bytes_as_base64
        self._is_complete = False
        super().__init__(self._values(), media_type=_NDJSON, headers={_CALL_HEADER: call.id})

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for line in self.body_iterator:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        if self._is_complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _values(self) -> AsyncIterator[bytes]:
        try:
            async for value in self._call.values(bytes_as_base64=self._bytes_as_base64):
                yield value + b"\n"
            outcome = await self._call.outcome(_LONGEST_POLL)
            self._is_complete = outcome is not None and outcome.fate is Fate.DONE
            if outcome is not None and not self._is_complete:
                yield _line(outcome)
        except NotJson as error:
            yield _line(Outcome(fate=Fate.NOT_JSON, detail=str(error)))
        finally:
            if not self._is_complete:
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CANCEL_SECONDS):
                    await self._call.cancel()


def _line(outcome: Outcome) -> bytes:
    return json.dumps(_content(outcome)).encode() + b"\n"


class _Query:
    def __init__(self, request: Request, known: set[str]) -> None:
        self._values = request.query_params
        if unknown := sorted(set(self._values) - known):
            msg = f"No parameter is called {unknown[0]!r} here. There are: {', '.join(sorted(known))}."
            raise InvalidRequest(msg)

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def flag(self, name: str) -> bool:
        return self._values.get(name, "0").lower() in {"", "1", "true", "yes"}

    def number(self, name: str, default: float = 0.0) -> float:
        try:
            value = float(self._values.get(name, default))
        except ValueError:
            value = -1.0
        if not value >= 0:
            msg = f"{name} is a number of seconds."
            raise InvalidRequest(msg)
        return value

    @property
    def is_base64(self) -> bool:
        if (how := self._values.get("bytes", "")) not in {"", "base64"}:
            msg = f"bytes={how[:80]} is not known; there is bytes=base64."
            raise InvalidRequest(msg)
        return how == "base64"


async def _body(request: Request) -> bytes | None:
    """None if there is too much of it."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
    return b"".join(parts)


def _idempotency_key(request: Request) -> str:
    key: str = request.headers.get("idempotency-key", "")
    if len(key) > _MAX_KEY:
        msg = f"An Idempotency-Key has at most {_MAX_KEY} characters."
        raise InvalidRequest(msg)
    return key


def _call_id(request: Request) -> CallId:
    text: str = request.path_params["call_id"]
    if not is_id(text, "fc"):
        msg = f"{text[:80]!r} is no id of a call. To call a function: POST /call/<app>/<function>."
        raise NotFound(msg)
    return CallId(text)


def _scheme(request: Request) -> str:
    told = request.headers.get("x-forwarded-proto", "")
    return told if told in {"http", "https"} else request.url.scheme


def _told(outcome: Outcome, call: Call) -> Response:
    headers = {_CALL_HEADER: call.id}
    if outcome.fate is Fate.DONE:
        return Response(outcome.content, media_type="application/json", headers=headers)
    return JSONResponse(_content(outcome), _STATUSES[outcome.fate], headers)


def _content(outcome: Outcome) -> dict[str, Any]:
    content: dict[str, Any] = {"error": outcome.fate, "detail": outcome.detail}
    return {**content, "exception": dict(outcome.raised)} if outcome.raised else content


def _refused(status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": error, "detail": detail}, status, headers)
