"""`/predict_sync`, `/predict_batch` and `/predict_stream`.

The bodies are validated straight from their bytes by the app's own models; the OpenAPI schema of each route shows these models.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pydantic_core
from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.responses import Response, StreamingResponse

from modalkit._parcels import Failure, Outcome
from modalkit._web.body import refused
from modalkit._web.front import Front, value_or_raise
from modalkit._web.schema import Schemas
from modalkit.errors import InferenceError, Problem, new_error_id

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


def routes(front: Front, schemas: Schemas, input_model: Any, output_model: Any) -> APIRouter:
    router = APIRouter(tags=["predict"])

    async def predict_sync(request: Request) -> Response:
        """One input, one output."""
        model = front.catalogue.choose(request.query_params.get("model_name"))
        given = await front.body.read(request, front.inputs)
        return Response(front.body_of(value_or_raise(await front.answer(model, given))), media_type=JSON)

    inputs: TypeAdapter[list[Any]] = TypeAdapter(list[input_model])

    async def predict_batch(request: Request) -> Response:
        """A list of inputs; each succeeds or fails on its own, in order."""
        model = front.catalogue.choose(request.query_params.get("model_name"))
        given = await front.body.read(request, inputs)
        if len(given) > front.web.max_items:
            raise refused(413, f"{len(given)} items; at most {front.web.max_items} in one request.", "too_many_items")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(front.answer(model, each)) for each in given]
        return Response(b"[" + b",".join(_entry(front, task.result()) for task in tasks) + b"]", media_type=JSON)

    router.add_api_route("/predict_sync", predict_sync, methods=["POST"], openapi_extra=schemas.one(input_model, output_model))
    router.add_api_route("/predict_batch", predict_batch, methods=["POST"], openapi_extra=schemas.many(input_model, output_model))
    if front.is_streaming:

        async def predict_stream(request: Request) -> Response:
            """One input, its answer piece by piece: server-sent events, or lines of JSON for who accepts `application/x-ndjson`."""
            model = front.catalogue.choose(request.query_params.get("model_name"))
            given = await front.body.read(request, front.inputs)
            return await _streamed(front, model, given, is_ndjson=NDJSON in request.headers.get("accept", ""))

        router.add_api_route("/predict_stream", predict_stream, methods=["POST"], openapi_extra=schemas.streamed(input_model))
    return router


def _entry(front: Front, outcome: Outcome) -> bytes:
    if isinstance(outcome, Failure):
        return b'{"error":' + pydantic_core.to_json(outcome.problem.as_json(), fallback=str) + b"}"
    try:
        return b'{"output":' + front.body_of(outcome.value) + b"}"
    except InferenceError as error:
        return b'{"error":' + pydantic_core.to_json(error.problem.as_json(), fallback=str) + b"}"


async def _streamed(front: Front, model: str, given: Any, *, is_ndjson: bool) -> Response:
    """The head is sent with the first piece, so that a model that cannot begin is an error with its own status. Each piece has `request_timeout`."""
    pieces = _timed(front.service.stream(model, front.item(given)), front.web.request_timeout)
    first = await anext(pieces, None)
    frame = _line if is_ndjson else _event
    return StreamingResponse(_frames(first, pieces, frame), media_type=NDJSON if is_ndjson else SSE, headers={"Cache-Control": "no-store"})


async def _timed(pieces: AsyncGenerator[Any, None], patience: float) -> AsyncGenerator[Any, None]:
    """The same pieces. Raises InferenceError (504): one was `patience` seconds late."""
    async with aclosing(pieces):
        while True:
            try:
                async with asyncio.timeout(patience):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                problem = Problem(504, f"Nothing came from the model for {patience:g} s.", "timeout")
                raise InferenceError.of(problem) from error
            yield piece


async def _frames(first: Any, pieces: AsyncGenerator[Any, None], frame: Any) -> AsyncIterator[bytes]:
    """Ends the pieces with it, whether they were all taken or their caller left."""
    try:
        async with aclosing(pieces):
            if first is not None:
                yield frame("", first)
                async for piece in pieces:
                    yield frame("", piece)
    except InferenceError as error:
        yield frame("error", error.problem.as_json())
    except Exception as error:  # noqa: BLE001  # the head is sent: what can still be said is said in the stream
        yield frame("error", Problem(500, f"{type(error).__name__}: {error}", "inference_failed", new_error_id()).as_json())
    else:
        if frame is _event:
            yield frame("end", None)


def _event(name: str, piece: Any) -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + pydantic_core.to_json(piece, fallback=str) + b"\n\n"


def _line(name: str, piece: Any) -> bytes:
    return pydantic_core.to_json({"error": piece} if name else piece, fallback=str) + b"\n"
