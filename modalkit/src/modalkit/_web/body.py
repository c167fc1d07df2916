"""Bodies of requests: read within a bound, and validated straight from their bytes."""

from typing import Any

import pydantic_core
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from modalkit._web.problems import invalid
from modalkit.errors import InferenceError, Problem


class BodyReader:
    """Reads JSON bodies of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def read(self, request: Request, adapter: TypeAdapter[Any]) -> Any:
        """The validated body. Raises InferenceError: 400 (no JSON), 413 (too big), 415 (another kind of content), 422 (not what is asked for)."""
        body = await self.bytes(request)
        try:
            return parse(body, adapter)
        except InferenceError as error:
            raise of_compressed(request) or error from error

    async def bytes(self, request: Request) -> bytes:
        """The body as it came. Raises InferenceError: 413, 415."""
        _check_kind(request)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit:
            raise self._too_big()
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > self._limit:
                    raise self._too_big()
                chunks.append(chunk)
        except ClientDisconnect as error:
            raise refused(400, "The request ended before its body.", "incomplete") from error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_big(self) -> InferenceError:
        return refused(413, f"The body is larger than {self._limit} bytes.", "too_large")


def parse(body: bytes, adapter: TypeAdapter[Any]) -> Any:
    """What the bytes hold. Raises InferenceError: 400 or 422."""
    if b"NaN" in body or b"Infinity" in body:  # or within a text, which is fine: the strict parser tells
        _strictly(body)
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid":
            raise refused(400, f"The body is no JSON: {error.errors()[0]['msg'].removeprefix('Invalid JSON: ')}", "invalid_json") from error
        raise InferenceError.of(invalid(error)) from error
    except RecursionError as error:
        raise refused(400, "The body is nested too deeply.", "invalid_json") from error


def refused(status: int, detail: str, kind: str) -> InferenceError:
    """An error of this request, not of the model."""
    return InferenceError.of(Problem(status, detail, kind))


def _strictly(body: bytes) -> None:
    try:
        pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise refused(400, f"The body is no JSON: {error}", "invalid_json") from error


def of_compressed(request: Request) -> InferenceError | None:
    """What is said of a body that is no JSON because it is compressed. Looked for last, since hardly any is."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return None
    return refused(415, f"Content-Encoding {encoding} is not taken: send the body as it is.", "unsupported_media_type")


def _check_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise refused(415, f"Send application/json, not {kind or 'nothing'}.", "unsupported_media_type")
